//! Answers that their callers have not read yet: each holds its bytes until they are written to the connection, and all of a process
//! have a limit, so that callers that do not read cannot fill the memory.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody, to_bytes};
use axum::response::{IntoResponse as _, Response};
use hyper::body::{Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::problem::{Kind, Problem};

/// Bytes of answers that wait to be written, at most.
pub(crate) const BYTES_MAX: usize = 64 << 20;
/// Bytes that the connection gets at a time; it takes more when it has written them.
const PART_BYTES: usize = 64 << 10;
/// When a caller may ask again for whose answer there was no room, in seconds.
const RETRY_AFTER: u16 = 1;
/// Bytes of a place.
const PLACE_BYTES: usize = 1 << 10;

/// Places for answers that wait to be written.
pub(crate) struct Unread(Arc<Semaphore>);

impl Default for Unread {
    fn default() -> Self {
        Self::of(BYTES_MAX)
    }
}

impl Unread {
    /// Room for this many bytes.
    pub(crate) fn of(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes / PLACE_BYTES)))
    }

    /// The answer, if there is room for it among all of these. One of a few bytes is in the connection's buffer at once.
    pub(crate) async fn held<const N: usize>(among: [&Self; N], answer: Response) -> Response {
        let bytes = answer.body().size_hint().exact().and_then(|bytes| usize::try_from(bytes).ok());
        let Some(bytes) = bytes.filter(|bytes| *bytes > PART_BYTES) else { return answer };
        let places = u32::try_from(bytes.div_ceil(PLACE_BYTES)).unwrap_or(u32::MAX);
        let places = among.map(|unread| unread.0.clone().try_acquire_many_owned(places));
        let Ok(places) = places.into_iter().collect::<Result<Vec<_>, _>>() else {
            let problem = Problem::new(Kind::FULL, "too many answers wait to be read");
            return problem.retry_after(RETRY_AFTER).into_response();
        };
        let (parts, body) = answer.into_parts();
        match to_bytes(body, bytes).await {
            Ok(rest) => Response::from_parts(parts, Body::new(Held { rest, places })),
            Err(_) => Problem::new(Kind::PANIC, "the answer cannot be read").into_response(),
        }
    }
}

/// The rest of an answer, and its places.
struct Held {
    rest: Bytes,
    places: Vec<OwnedSemaphorePermit>,
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.rest.is_empty() {
            self.places.clear();
            return Poll::Ready(None);
        }
        let part = PART_BYTES.min(self.rest.len());
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(part)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(bytes: usize) -> Response {
        Response::new(Body::from(vec![b'x'; bytes]))
    }

    #[tokio::test]
    async fn answers_that_nothing_reads_leave_no_room_for_more_until_they_are_gone() {
        let (unread, client, other) =
            (Unread::default(), Unread::of(BYTES_MAX / 2), Unread::of(BYTES_MAX / 2));
        let large = BYTES_MAX / 4;
        let mut held = Vec::new();
        for of in [&client, &client, &other] {
            held.push(Unread::held([&unread, of], answer(large)).await);
        }
        assert!(held.iter().all(|answer| answer.status() == 200));
        assert_eq!(
            Unread::held([&unread, &client], answer(large)).await.status(),
            503,
            "the half of one client"
        );
        assert_eq!(
            Unread::held([&unread, &client], answer(100)).await.status(),
            200,
            "a short one needs no room"
        );
        let read = to_bytes(held.swap_remove(0).into_body(), usize::MAX).await.unwrap();
        assert_eq!(read.len(), large, "nothing is missing");
        held.push(Unread::held([&unread, &client], answer(large)).await);
        held.push(Unread::held([&unread, &other], answer(large)).await);
        assert!(held.iter().all(|answer| answer.status() == 200));
        let another = Unread::default();
        assert_eq!(Unread::held([&unread, &another], answer(large)).await.status(), 503, "all is taken");
        drop(held);
        assert_eq!(Unread::held([&unread, &client], answer(BYTES_MAX / 2)).await.status(), 200);
    }
}
