//! Several commands, handed to the client in their order, until one is not taken.

use std::collections::VecDeque;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tokio::sync::oneshot;

use super::producer::Delivered;

/// What the client says of a command that is handed to it: that it will tell what became of it, or why it did not take it.
pub(super) type Handed = Result<oneshot::Receiver<Delivered>, KafkaError>;

/// Commands of which the first are told what became of them, and the others are under way.
struct Round<C> {
    under_way: VecDeque<(C, Handed)>,
    ended: Vec<(C, Delivered)>,
    is_stopped: bool,
}

/// Hands these over, and waits until each is acknowledged or refused. While the client's buffer is full, the oldest is awaited first.
/// Behind one that is not taken no other is handed over, except behind one that is too large; nor when the time `is_over`.
pub(super) async fn in_order<C>(
    commands: Vec<C>,
    is_over: impl Fn() -> bool,
    hand_over: impl Fn(&C) -> Handed,
) -> Vec<(C, Delivered)> {
    let ended = Vec::with_capacity(commands.len());
    let mut round = Round { under_way: VecDeque::new(), ended, is_stopped: false };
    for command in commands {
        let handed = round.handed_over(&command, &is_over, &hand_over).await;
        round.is_stopped |= handed.as_ref().is_err_and(stops);
        round.under_way.push_back((command, handed));
    }
    while round.oldest_ends().await {}
    round.ended
}

/// Whether further commands could be taken while this one, which is before them, is not.
fn stops(error: &KafkaError) -> bool {
    !matches!(error, KafkaError::MessageProduction(RDKafkaErrorCode::MessageSizeTooLarge))
}

impl<C> Round<C> {
    async fn handed_over(
        &mut self,
        command: &C,
        is_over: impl Fn() -> bool,
        hand_over: impl Fn(&C) -> Handed,
    ) -> Handed {
        while !self.is_stopped && !is_over() {
            match hand_over(command) {
                Err(KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull))
                    if self.oldest_ends().await => {}
                handed => return handed,
            }
        }
        Err(KafkaError::Canceled)
    }

    /// Waits for the oldest that is under way; false if there is none.
    async fn oldest_ends(&mut self) -> bool {
        let Some((command, handed)) = self.under_way.pop_front() else { return false };
        let delivered = match handed {
            Ok(told) => told.await.unwrap_or(Err(KafkaError::Canceled)),
            Err(error) => Err(error),
        };
        self.is_stopped |= delivered.as_ref().is_err_and(stops);
        self.ended.push((command, delivered));
        true
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    const FULL: RDKafkaErrorCode = RDKafkaErrorCode::QueueFull;
    const TOO_LARGE: RDKafkaErrorCode = RDKafkaErrorCode::MessageSizeTooLarge;
    const TIMED_OUT: RDKafkaErrorCode = RDKafkaErrorCode::MessageTimedOut;

    /// A buffer of two commands: it is full until the oldest is acknowledged, which happens when it is full.
    #[derive(Default)]
    struct Buffer {
        tried: RefCell<Vec<u32>>,
        held: RefCell<VecDeque<(u32, oneshot::Sender<Delivered>)>>,
    }

    impl Buffer {
        fn take(&self, command: u32, becomes: impl Fn(u32) -> Delivered) -> Handed {
            self.tried.borrow_mut().push(command);
            let mut held = self.held.borrow_mut();
            if held.len() == 2 {
                let (oldest, told) = held.pop_front().unwrap();
                told.send(becomes(oldest)).unwrap();
                return Err(KafkaError::MessageProduction(FULL));
            }
            let (told, delivered) = oneshot::channel();
            held.push_back((command, told));
            Ok(delivered)
        }

        /// Those that are still held when nothing more comes are acknowledged.
        fn flushed(&self, becomes: impl Fn(u32) -> Delivered) {
            for (command, told) in self.held.take() {
                told.send(becomes(command)).unwrap();
            }
        }
    }

    const TAKEN: fn(u32) -> Delivered = |command| Ok((0, command.into()));

    fn offsets(ended: &[(u32, Delivered)]) -> Vec<Option<i64>> {
        ended.iter().map(|(_, delivered)| delivered.as_ref().ok().map(|(_, offset)| *offset)).collect()
    }

    #[tokio::test]
    async fn more_commands_than_the_buffer_holds_are_all_taken_in_their_order() {
        let buffer = Buffer::default();
        let hand_over = |command: &u32| {
            let handed = buffer.take(*command, TAKEN);
            if *command == 9 && handed.is_ok() {
                buffer.flushed(TAKEN);
            }
            handed
        };
        let ended = in_order((0..10).collect(), || false, hand_over).await;
        assert_eq!(offsets(&ended), (0..10).map(Some).collect::<Vec<_>>());
        assert!(buffer.tried.borrow().is_sorted());
    }

    #[tokio::test]
    async fn behind_a_command_that_is_not_taken_no_other_is_handed_over() {
        let buffer = Buffer::default();
        let becomes = |command| match command {
            1 => Err(KafkaError::MessageProduction(TIMED_OUT)),
            command => TAKEN(command),
        };
        let hand_over = |command: &u32| {
            let handed = buffer.take(*command, becomes);
            if *command == 3 {
                buffer.flushed(becomes);
            }
            handed
        };
        let ended = in_order((0..10).collect(), || false, hand_over).await;
        assert_eq!(offsets(&ended)[..3], [Some(0), None, Some(2)], "what was under way may be taken");
        assert!(ended[3..].iter().all(|(_, delivered)| *delivered == Err(KafkaError::Canceled)));
        assert_eq!(buffer.tried.borrow().last(), Some(&3));
    }

    #[tokio::test]
    async fn a_buffer_that_others_have_filled_ends_it_and_one_that_is_too_large_does_not() {
        let refuses = |code: RDKafkaErrorCode, at: u32| {
            move |command: &u32| {
                let (told, delivered) = oneshot::channel();
                told.send(TAKEN(*command)).unwrap();
                if *command == at { Err(KafkaError::MessageProduction(code)) } else { Ok(delivered) }
            }
        };
        let too_large = in_order((0..3).collect(), || false, refuses(TOO_LARGE, 1)).await;
        assert_eq!(offsets(&too_large), [Some(0), None, Some(2)]);
        let full = in_order((0..3).collect(), || false, refuses(FULL, 0)).await;
        assert_eq!(offsets(&full), [None; 3]);
    }

    #[tokio::test]
    async fn nothing_is_handed_over_once_the_time_is_over() {
        let handed = RefCell::new(0);
        let hand_over = |command: &u32| {
            *handed.borrow_mut() += 1;
            let (told, delivered) = oneshot::channel();
            told.send(TAKEN(*command)).unwrap();
            Ok(delivered)
        };
        let ended = in_order((0..3).collect(), || *handed.borrow() == 2, hand_over).await;
        assert_eq!(offsets(&ended), [Some(0), Some(1), None]);
    }
}
