//! Incremental changes of topic settings (KIP-339): settings that are not named stay as they are.

use std::ffi::CString;
use std::slice;
use std::time::Duration;

use rdkafka::bindings as sys;
use rdkafka::client::{Client, ClientContext};
use rdkafka::error::{KafkaError, KafkaResult};

use crate::{GRACE, Owned, accepted, awaited, question};

/// A setting of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The topic.
    pub topic: String,
    /// Such as `max.message.bytes`.
    pub name: String,
    /// The value in Kafka's format.
    pub value: String,
}

/// Sets these; those of one topic must be adjacent. Blocks for at most about `within`.
///
/// # Errors
/// [`KafkaError`] when Kafka does not answer in time, or refuses one of them; the others may be set.
pub fn set<C: ClientContext>(client: &Client<C>, settings: &[Setting], within: Duration) -> KafkaResult<()> {
    let topics = settings.chunk_by(|one, other| one.topic == other.topic);
    let resources = topics.map(resource).collect::<KafkaResult<Vec<_>>>()?;
    let mut pointers: Vec<_> = resources.iter().map(Owned::pointer).collect();
    let client = client.native_ptr();
    // SAFETY: the client outlives the call; the resources live until the end of this function and are copied; every other
    // pointer was just made by librdkafka, is checked, and is freed by its owner.
    unsafe {
        let operation = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_INCREMENTALALTERCONFIGS;
        let (options, queue) = question(client, operation, within)?;
        let (first, count) = (pointers.as_mut_ptr(), pointers.len());
        sys::rd_kafka_IncrementalAlterConfigs(client, first, count, options.pointer(), queue.pointer());
        let event = awaited(&queue, within + GRACE)?;
        accepted(sys::rd_kafka_event_error(event.pointer()))?;
        let result = sys::rd_kafka_event_IncrementalAlterConfigs_result(event.pointer());
        if result.is_null() {
            return Err(KafkaError::AdminOpCreation("the answer names no settings".to_owned()));
        }
        let mut count = 0;
        let first = sys::rd_kafka_IncrementalAlterConfigs_result_resources(result, &mut count);
        let set = if first.is_null() { &[] } else { slice::from_raw_parts(first, count) };
        set.iter().try_for_each(|one| accepted(sys::rd_kafka_ConfigResource_error(*one)))
    }
}

/// Settings of one topic.
fn resource(settings: &[Setting]) -> KafkaResult<Owned<sys::rd_kafka_ConfigResource_t>> {
    let topic = CString::new(settings.first().map_or("", |setting| &setting.topic))?;
    // SAFETY: librdkafka copies the name; what it makes is checked, and freed by its owner.
    let resource = unsafe {
        let kind = sys::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC;
        let resource = sys::rd_kafka_ConfigResource_new(kind, topic.as_ptr());
        Owned::of(resource, sys::rd_kafka_ConfigResource_destroy)?
    };
    settings.iter().try_for_each(|setting| add(&resource, setting))?;
    Ok(resource)
}

fn add(resource: &Owned<sys::rd_kafka_ConfigResource_t>, setting: &Setting) -> KafkaResult<()> {
    let (name, value) = (CString::new(setting.name.as_str())?, CString::new(setting.value.as_str())?);
    let operation = sys::rd_kafka_AlterConfigOpType_t::RD_KAFKA_ALTER_CONFIG_OP_TYPE_SET;
    // SAFETY: the resource lives; librdkafka copies name and value; an error is freed here, once.
    unsafe {
        let add = sys::rd_kafka_ConfigResource_add_incremental_config;
        let error = add(resource.pointer(), name.as_ptr(), operation, value.as_ptr());
        if error.is_null() {
            return Ok(());
        }
        let code = sys::rd_kafka_error_code(error);
        sys::rd_kafka_error_destroy(error);
        accepted(code)
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::ClientConfig;
    use rdkafka::consumer::{BaseConsumer, Consumer as _};

    use super::*;

    #[test]
    fn a_broker_that_does_not_answer_is_an_error_in_time() {
        let unconnected: BaseConsumer =
            ClientConfig::new().set("bootstrap.servers", "127.0.0.1:1").create().unwrap();
        let (name, value) = ("max.message.bytes".to_owned(), "1".to_owned());
        let setting = Setting { topic: "orders".to_owned(), name, value };
        let answer = set(unconnected.client(), &[setting], Duration::from_millis(100));
        assert!(matches!(answer, Err(KafkaError::AdminOp(_))), "{answer:?}");
    }
}
