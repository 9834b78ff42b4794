//! What librdkafka can do and its Rust client does not offer: the ids of topics, single settings of theirs, headers of any
//! bytes, the watermarks of many partitions at once, and which records cannot be fetched.

mod configs;
mod headers;
mod unfetchable;
mod watermarks;

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char};
use std::ptr::{self, NonNull};
use std::slice;
use std::time::Duration;

use rdkafka::bindings as sys;
use rdkafka::client::{Client, ClientContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;
use uuid::Uuid;

pub use configs::{Setting, set};
pub use headers::{Header, Headers, header_text, headers, owned_headers};
pub use unfetchable::{Unfetchable, is_unfetchable, next_offset, unfetchable};
pub use watermarks::{Watermarks, fetched_end, offsets, watermarks};

/// librdkafka's own timeout ends a request; how much longer this code waits for its answer.
const GRACE: Duration = Duration::from_secs(1);

/// The ids of topics (KIP-516): a topic that is deleted and created again has another one. Unknown topics are left out; brokers
/// before KIP-516 have no ids. Blocks for at most about `within`.
///
/// # Errors
/// [`KafkaError`] when Kafka does not answer in time, or refuses to describe a topic.
pub fn topic_ids<C: ClientContext>(
    client: &Client<C>,
    topics: &[String],
    within: Duration,
) -> KafkaResult<BTreeMap<String, Option<Uuid>>> {
    let event = describe(client, topics, within)?;
    // SAFETY: the event lives until the end of this function, and so does all that it contains.
    unsafe {
        accepted(sys::rd_kafka_event_error(event.pointer()))?;
        let result = sys::rd_kafka_event_DescribeTopics_result(event.pointer());
        if result.is_null() {
            return Err(KafkaError::AdminOpCreation("the answer describes no topics".to_owned()));
        }
        let mut count = 0;
        let first = sys::rd_kafka_DescribeTopics_result_topics(result, &mut count);
        let described = if first.is_null() { &[] } else { slice::from_raw_parts(first, count) };
        // A broker that describes fewer topics leaves holes.
        let described = described.iter().filter(|topic| !topic.is_null());
        described.filter_map(|topic| id(*topic).transpose()).collect()
    }
}

/// Sends the request, and waits for the answer.
fn describe<C: ClientContext>(
    client: &Client<C>,
    topics: &[String],
    within: Duration,
) -> KafkaResult<Owned<sys::rd_kafka_event_t>> {
    let names = topics.iter().map(|topic| CString::new(topic.as_str())).collect::<Result<Vec<_>, _>>()?;
    let mut pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
    let client = client.native_ptr();
    // SAFETY: the client outlives the call; the names are copied; every other pointer was just made by librdkafka, is
    // checked, and is freed by its owner after the answer or the end of waiting: the answer to a question whose queue is
    // destroyed is dropped.
    unsafe {
        let names = sys::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
        let names = Owned::of(names, sys::rd_kafka_TopicCollection_destroy)?;
        let operation = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
        let (options, queue) = question(client, operation, within)?;
        sys::rd_kafka_DescribeTopics(client, names.pointer(), options.pointer(), queue.pointer());
        awaited(&queue, within + GRACE)
    }
}

/// The options of an admin request with its timeout, and the queue for its answer.
///
/// # Safety
/// The client must live as long as both.
unsafe fn question(
    client: *mut sys::rd_kafka_t,
    operation: sys::rd_kafka_admin_op_t,
    within: Duration,
) -> KafkaResult<(Owned<sys::rd_kafka_AdminOptions_t>, Owned<sys::rd_kafka_queue_t>)> {
    // SAFETY: as the caller promises; what librdkafka makes is checked, and freed by its owner.
    unsafe {
        let options = sys::rd_kafka_AdminOptions_new(client, operation);
        let options = Owned::of(options, sys::rd_kafka_AdminOptions_destroy)?;
        let timeout = sys::rd_kafka_AdminOptions_set_request_timeout;
        accepted(timeout(options.pointer(), milliseconds(within), ptr::null_mut(), 0))?;
        let queue = Owned::of(sys::rd_kafka_queue_new(client), sys::rd_kafka_queue_destroy)?;
        Ok((options, queue))
    }
}

/// The next event of a queue.
fn awaited(
    queue: &Owned<sys::rd_kafka_queue_t>,
    within: Duration,
) -> KafkaResult<Owned<sys::rd_kafka_event_t>> {
    // SAFETY: the queue lives; the event is checked, and freed by its owner.
    unsafe {
        let event = sys::rd_kafka_queue_poll(queue.pointer(), milliseconds(within));
        Owned::of(event, sys::rd_kafka_event_destroy)
            .map_err(|_| KafkaError::AdminOp(RDKafkaErrorCode::OperationTimedOut))
    }
}

/// The name and id of a described topic; `None` for one that is not there.
///
/// # Safety
/// The description must come from an event that still lives.
unsafe fn id(topic: *const sys::rd_kafka_TopicDescription_t) -> KafkaResult<Option<(String, Option<Uuid>)>> {
    // SAFETY: as the caller promises; librdkafka takes a null error for none, and names end with a zero.
    unsafe {
        match sys::rd_kafka_error_code(sys::rd_kafka_TopicDescription_error(topic)) {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART => return Ok(None),
            other => accepted(other)?,
        }
        let (name, id) =
            (sys::rd_kafka_TopicDescription_name(topic), sys::rd_kafka_TopicDescription_topic_id(topic));
        if name.is_null() || id.is_null() {
            return Ok(None);
        }
        let most = sys::rd_kafka_Uuid_most_significant_bits(id).cast_unsigned();
        let least = sys::rd_kafka_Uuid_least_significant_bits(id).cast_unsigned();
        let id = Uuid::from_u64_pair(most, least);
        let name = CStr::from_ptr(name).to_string_lossy().into_owned();
        Ok(Some((name, Some(id).filter(|id| !id.is_nil()))))
    }
}

fn accepted(code: RDKafkaRespErr) -> KafkaResult<()> {
    match code {
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
        code => Err(KafkaError::AdminOp(code.into())),
    }
}

fn milliseconds(time: Duration) -> i32 {
    i32::try_from(time.as_millis()).unwrap_or(i32::MAX)
}

/// What librdkafka has made for us, freed with this value.
struct Owned<T> {
    pointer: NonNull<T>,
    free: unsafe extern "C" fn(*mut T),
}

impl<T> Owned<T> {
    /// # Safety
    /// `free` must be how `pointer` is freed, and nothing else may free it.
    unsafe fn of(pointer: *mut T, free: unsafe extern "C" fn(*mut T)) -> KafkaResult<Self> {
        let made = NonNull::new(pointer);
        let pointer =
            made.ok_or_else(|| KafkaError::AdminOpCreation("librdkafka made nothing".to_owned()))?;
        Ok(Self { pointer, free })
    }

    fn pointer(&self) -> *mut T {
        self.pointer.as_ptr()
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: as was promised to `of`; it is freed once, here.
        unsafe { (self.free)(self.pointer.as_ptr()) }
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::ClientConfig;
    use rdkafka::consumer::{BaseConsumer, Consumer as _};

    use super::*;

    fn unconnected() -> BaseConsumer {
        ClientConfig::new().set("bootstrap.servers", "127.0.0.1:1").create().unwrap()
    }

    #[test]
    fn a_broker_that_does_not_answer_is_an_error_in_time() {
        let answer = topic_ids(unconnected().client(), &["orders".to_owned()], Duration::from_millis(100));
        assert!(matches!(answer, Err(KafkaError::AdminOp(_))), "{answer:?}");
    }

    #[test]
    fn a_name_that_no_topic_can_have_is_an_error() {
        let answer = topic_ids(unconnected().client(), &["or\0ders".to_owned()], Duration::from_millis(100));
        assert!(matches!(answer, Err(KafkaError::Nul(_))), "{answer:?}");
    }
}
