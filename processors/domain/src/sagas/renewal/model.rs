//! A model: the renewal of one subscription, the real contexts that it sends commands to, a provider and a customer who
//! changes their mind, in memory. Whatever is received in whatever order, what was captured has renewed a period that was
//! charged once, or it is paid back.

use std::collections::{BTreeMap, VecDeque};

use chrono::DateTime;
use millrace_schemas::payments::{
    self, CapturePayment, CompleteRefund, DeclinePayment, Event as PaymentEvent, FailRefund,
};
use millrace_schemas::subscriptions::{
    self, CancelSubscription, Event as SubscriptionEvent, PauseSubscription, ResumeSubscription,
    StartSubscription,
};
use millrace_schemas::{Command, CommandRejected, Event};
use proptest::prelude::*;

use super::{Owed, PERIOD, Renewal, SubscriptionRenewal};
use crate::contexts::customers::Customers;
use crate::contexts::customers::examples::registered;
use crate::contexts::payments::{Payment, Payments};
use crate::contexts::subscriptions::{Status, Subscription, Subscriptions};
use crate::testing::{assert_survives_storage, given, recorded, rejected};
use crate::{Context, Input, Reaction, Recorded, Reference, References, Saga as _, Streams, Timer};

const MONTH: i64 = 30 * 86_400_000_000;

/// A stream of a context, and a key of its commands.
type Place = (&'static str, String);

/// What may happen next.
#[derive(Debug, Clone)]
enum Action {
    Decide(Place),
    Receive(Place),
    ReceiveRejection(usize),
    Answer(usize, bool),
    PeriodBegins,
    Pause,
    Resume,
    Cancel,
}

/// A call that the provider has not answered.
#[derive(Debug, Clone)]
enum Call {
    Charge { order_id: String, amount: i64 },
    Refund { order_id: String, refund_id: String },
}

#[derive(Default)]
struct World {
    renewal: Option<Renewal>,
    timer: bool,
    subscriptions: BTreeMap<String, Subscription>,
    payments: BTreeMap<String, Payment>,
    /// Whether the saga has sent each.
    commands: BTreeMap<Place, VecDeque<(bool, Command)>>,
    /// All of each stream, and how many the saga has received.
    events: BTreeMap<Place, (Vec<Recorded>, usize)>,
    rejections: Vec<CommandRejected>,
    calls: Vec<Call>,
    history: Vec<Event>,
    /// The customer cancels after this many events at the earliest.
    patience: usize,
    now: i64,
}

impl World {
    fn new(patience: usize) -> Self {
        let mut world = Self { patience, ..Self::default() };
        let [subscription_id, customer_id, plan, currency, period] =
            ["s1", "ana", "tea", "EUR", "month"].map(str::to_owned);
        let start = StartSubscription {
            subscription_id,
            customer_id,
            plan,
            amount: 700,
            currency,
            period,
            started_at: 0,
        };
        world.send(false, subscriptions::Command::from(start).into());
        world
    }

    fn send(&mut self, ours: bool, command: Command) {
        let place = (command.context(), command.key().to_owned());
        self.commands.entry(place).or_default().push_back((ours, command));
    }

    /// What may happen now. What only people and time do is added when `restless`, so that the world can come to rest.
    fn possible(&self, restless: bool) -> Vec<Action> {
        let decide = self.commands.iter().filter(|(_, waiting)| !waiting.is_empty());
        let mut possible: Vec<Action> = decide.map(|(place, _)| Action::Decide(place.clone())).collect();
        let left = self.events.iter().filter(|(_, (known, received))| *received < known.len());
        possible.extend(left.map(|(place, _)| Action::Receive(place.clone())));
        possible.extend((0..self.rejections.len()).map(Action::ReceiveRejection));
        for call in 0..self.calls.len() {
            possible.push(Action::Answer(call, true));
            possible.extend(restless.then_some(Action::Answer(call, false)));
        }
        if restless {
            possible.extend(self.timer.then_some(Action::PeriodBegins));
            possible.extend([Action::Pause, Action::Resume]);
            possible.extend((self.history.len() >= self.patience).then_some(Action::Cancel));
        }
        possible
    }

    fn act(&mut self, action: Action) {
        let subscription_id = "s1".to_owned();
        match action {
            Action::Decide(place) => self.decide_next(&place),
            Action::Receive(place) => {
                let (known, received) = self.events.get_mut(&place).unwrap();
                let event = known[*received].clone();
                *received += 1;
                self.receive(&Input::Event(&event));
            }
            Action::ReceiveRejection(number) => {
                let rejection = self.rejections.remove(number);
                self.receive(&Input::Rejection(&rejection));
            }
            Action::Answer(number, well) => {
                let command = answer(self.calls.remove(number), well);
                self.send(false, command.into());
            }
            Action::PeriodBegins => {
                self.timer = false;
                self.react(&Input::Timer(PERIOD, DateTime::UNIX_EPOCH));
            }
            Action::Pause => self.ask(PauseSubscription { subscription_id }),
            Action::Resume => {
                self.now += MONTH;
                self.ask(ResumeSubscription { subscription_id, resumed_at: self.now });
            }
            Action::Cancel => self.ask(CancelSubscription { subscription_id, reason: "enough".to_owned() }),
        }
    }

    fn ask(&mut self, command: impl Into<subscriptions::Command>) {
        self.send(false, command.into().into());
    }

    fn receive(&mut self, input: &Input<'_>) {
        if SubscriptionRenewal::instance(input).is_some() {
            self.react(input);
        }
    }

    fn react(&mut self, input: &Input<'_>) {
        let step = match SubscriptionRenewal::react(self.renewal.clone(), input) {
            Reaction::Ignore => return,
            Reaction::Step(step) => step,
            Reaction::Impossible(why) => panic!("{why}"),
        };
        assert_survives_storage(&step.state);
        self.renewal = Some(step.state);
        step.sends.into_iter().for_each(|sent| self.send(true, sent.command));
        for timer in step.timers {
            self.timer = !matches!(timer, Timer::Cancel(_));
        }
    }

    fn decide_next(&mut self, place: &Place) {
        let (ours, command) = self.commands.get_mut(place).unwrap().pop_front().unwrap();
        let references = self.references();
        let outcome = match &command {
            Command::Subscriptions(command) => {
                decide::<Subscriptions>(&mut self.subscriptions, &references, command)
            }
            Command::Payments(command) => decide::<Payments>(&mut self.payments, &references, command),
            other => panic!("{other:?}"),
        };
        match outcome {
            Ok(events) => events.into_iter().for_each(|event| self.happen(event)),
            // Only the saga that has sent a command receives its rejection.
            Err(rejection) if ours => {
                self.rejections.push(rejected(&command, rejection.code, &rejection.message));
            }
            Err(_) => {}
        }
    }

    fn references(&self) -> References {
        let mut references = References::default();
        let customer = registered("ana", "Ana");
        let customer = serde_json::to_string(&given::<Customers>([customer.into()]).states()["ana"]).unwrap();
        references.insert(Reference::to::<Customers>("ana"), customer);
        for (id, subscription) in &self.subscriptions {
            references
                .insert(Reference::to::<Subscriptions>(id), serde_json::to_string(subscription).unwrap());
        }
        references
    }

    fn happen(&mut self, event: Event) {
        match &event {
            Event::Payments(PaymentEvent::PaymentRequested(event)) => {
                self.calls.push(Call::Charge { order_id: event.order_id.clone(), amount: event.amount });
            }
            Event::Payments(PaymentEvent::RefundRequested(event)) => {
                let (order_id, refund_id) = (event.order_id.clone(), event.refund_id.clone());
                self.calls.push(Call::Refund { order_id, refund_id });
            }
            _ => {}
        }
        self.history.push(event.clone());
        let (known, _) = self.events.entry((event.context(), event.key().to_owned())).or_default();
        known.push(recorded(&event, known.len() as i64 + 1));
    }

    /// Runs until nothing is left to do; then operators try again what the provider has not paid back.
    fn come_to_rest(&mut self) {
        loop {
            while let Some(action) = self.possible(false).into_iter().next() {
                self.act(action);
            }
            let owed = self.renewal.as_ref().is_some_and(|renewal| renewal.account().owes(Owed::Unpaid));
            if !owed {
                return;
            }
            self.react(&Input::Cancel("look again"));
        }
    }

    /// Of each payment: captured, and paid back.
    fn money(&self) -> BTreeMap<String, (i64, i64)> {
        let mut money: BTreeMap<String, (i64, i64)> = BTreeMap::new();
        for event in &self.history {
            match event {
                Event::Payments(PaymentEvent::PaymentCaptured(event)) => {
                    money.entry(event.order_id.clone()).or_default().0 += event.amount;
                }
                Event::Payments(PaymentEvent::PaymentRefunded(event)) => {
                    money.entry(event.order_id.clone()).or_default().1 += event.amount;
                }
                _ => {}
            }
        }
        money
    }

    fn renewed(&self) -> Vec<String> {
        let renewed = self.history.iter().filter_map(|event| match event {
            Event::Subscriptions(SubscriptionEvent::SubscriptionRenewed(event)) => {
                Some(format!("s1.{}", event.period_number))
            }
            _ => None,
        });
        renewed.collect()
    }

    fn check(&self) {
        let (money, renewed) = (self.money(), self.renewed());
        for (payment, (captured, refunded)) in &money {
            assert_eq!(*captured, 700, "{payment} is charged once");
            let kept = if renewed.contains(payment) { 700 } else { 0 };
            assert_eq!(captured - refunded, kept, "what is kept of {payment}");
        }
        assert!(renewed.iter().all(|payment| money.contains_key(payment)), "{renewed:?} are paid");
        let (Some(renewal), Some(subscription)) = (&self.renewal, self.subscriptions.get("s1")) else {
            return;
        };
        assert!(renewal.account().is_settled(), "nothing is left to undo: {renewal:?}");
        let standing = match subscription.status {
            Status::Active => "waiting",
            Status::Paused | Status::Lapsed => "stopped",
            Status::Cancelled => "cancelled",
        };
        assert_eq!(SubscriptionRenewal::standing(renewal).name, standing);
        assert_eq!(self.timer, subscription.status == Status::Active, "a timer is set while it is active");
    }
}

fn decide<C: Context>(
    states: &mut BTreeMap<String, C::State>,
    references: &References,
    command: &C::Command,
) -> Result<Vec<Event>, crate::Rejection>
where
    Event: From<C::Event>,
{
    let streams: Streams<C::State> = states.clone().into_iter().collect();
    let events = C::decide(&streams, references, command)?;
    for emitted in &events {
        let state = C::evolve(states.remove(&emitted.stream), &emitted.event);
        states.extend(state.map(|state| (emitted.stream.clone(), state)));
    }
    Ok(events.into_iter().map(|emitted| emitted.event.into()).collect())
}

fn answer(call: Call, well: bool) -> payments::Command {
    let text = |text: &str| text.to_owned();
    match (call, well) {
        (Call::Charge { order_id, amount }, true) => {
            CapturePayment { order_id, amount, provider_reference: text("c") }.into()
        }
        (Call::Charge { order_id, .. }, false) => {
            DeclinePayment { order_id, code: text("no-funds"), reason: text("no funds") }.into()
        }
        (Call::Refund { order_id, refund_id }, true) => {
            CompleteRefund { order_id, refund_id, provider_reference: text("r") }.into()
        }
        (Call::Refund { order_id, refund_id }, false) => {
            FailRefund { order_id, refund_id, reason: text("the account is closed") }.into()
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn no_period_is_charged_twice_and_what_renews_nothing_is_paid_back(
        patience in 0..60_usize,
        choices in prop::collection::vec(any::<u16>(), 0..200),
    ) {
        let mut world = World::new(patience);
        for choice in choices {
            let possible = world.possible(true);
            world.act(possible[usize::from(choice) % possible.len()].clone());
        }
        world.come_to_rest();
        world.check();
    }
}
