//! Headers as bytes. KIP-82 requires UTF-8 names, but brokers do not check it; librdkafka's Rust client panics at another name,
//! and cannot send one.

use std::ffi::c_char;
use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use std::slice;

use rdkafka::bindings as sys;
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{BorrowedMessage, OwnedHeaders};
use rdkafka::types::RDKafkaRespErr;

/// A header in Kafka. Names may repeat, be empty, contain zeros, and not be UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header<'m> {
    /// Its name.
    pub name: &'m [u8],
    /// Its value; a header may be null.
    pub value: Option<&'m [u8]>,
}

/// The headers of a message, in order.
///
/// # Errors
/// [`KafkaError::MessageConsumption`] when librdkafka cannot read them: it refuses more than 100,000, and invalid bytes.
pub fn headers<'m>(message: &'m BorrowedMessage<'_>) -> KafkaResult<Headers<'m>> {
    let mut native = ptr::null_mut();
    // SAFETY: the message lives for `'m`, and owns the headers that it hands out.
    match unsafe { sys::rd_kafka_message_headers(message.ptr(), &raw mut native) } {
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(Headers::of(NonNull::new(native))),
        RDKafkaRespErr::RD_KAFKA_RESP_ERR__NOENT => Ok(Headers::of(None)),
        code => Err(KafkaError::MessageConsumption(code.into())),
    }
}

/// The first header of this name, as text; `None` when absent, null or not UTF-8.
pub fn header_text<'m>(message: &'m BorrowedMessage<'_>, name: &str) -> Option<&'m str> {
    let header = headers(message).ok()?.find(|header| header.name == name.as_bytes())?;
    std::str::from_utf8(header.value?).ok()
}

/// Headers for a message that is to be sent.
pub fn owned_headers<'h>(headers: impl IntoIterator<Item = Header<'h>>) -> OwnedHeaders {
    let owned = OwnedHeaders::new();
    let native = ptr::from_ref(owned.as_borrowed()).cast_mut().cast::<sys::rd_kafka_headers_t>();
    for Header { name, value } in headers {
        let (value, size) = value.map_or((ptr::null(), 0), |value| (value.as_ptr(), value.len()));
        // SAFETY: `native` is the pointer that `owned` holds, which lives and belongs to nothing else; name and value are
        // copied. No allocation is larger than an `isize`.
        let code = unsafe {
            let size = size.cast_signed();
            sys::rd_kafka_header_add(
                native,
                name.as_ptr().cast(),
                name.len().cast_signed(),
                value.cast(),
                size,
            )
        };
        // Only what a client has taken is read-only.
        debug_assert_eq!(code, RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR, "headers can be added to");
    }
    owned
}

/// An iterator over the headers of a message.
pub struct Headers<'m> {
    native: Option<NonNull<sys::rd_kafka_headers_t>>,
    next: usize,
    message: PhantomData<&'m ()>,
}

impl Headers<'_> {
    /// Those that something owns which lives as long as this.
    fn of(native: Option<NonNull<sys::rd_kafka_headers_t>>) -> Self {
        Self { native, next: 0, message: PhantomData }
    }
}

impl<'m> Iterator for Headers<'m> {
    type Item = Header<'m>;

    fn next(&mut self) -> Option<Header<'m>> {
        let native = self.native?.as_ptr();
        let (mut name, mut value, mut size) = (ptr::null(), ptr::null(), 0);
        // SAFETY: the headers live for `'m` and do not change; librdkafka checks the index. Where there is a header, its
        // name is not null, and its value is null or has `size` bytes.
        unsafe {
            let get = sys::rd_kafka_header_get_all;
            let code = get(native, self.next, &raw mut name, &raw mut value, &raw mut size);
            if code != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
                return None;
            }
            self.next += 1;
            let value = (!value.is_null()).then(|| slice::from_raw_parts(value.cast(), size));
            Some(Header { name: slice::from_raw_parts(name.cast(), length(name)), value })
        }
    }
}

/// What lies right before a header's name, as `rdkafka_header.h` has it.
#[repr(C)]
struct BeforeName {
    name_size: usize,
    value: *const c_char,
}

// The layout is librdkafka's own: another version must be looked at. The test below compares it, too.
const _: () = assert!(sys::RD_KAFKA_VERSION == 0x020c_01ff, "rd_kafka_header_s of another librdkafka");

/// How long a name is. librdkafka knows it and hands out only a pointer, from which the end of a name with zeros cannot be
/// found.
///
/// # Safety
/// The name must be one that [`sys::rd_kafka_header_get_all`] has handed out, of headers that live.
unsafe fn length(name: *const c_char) -> usize {
    // SAFETY: the name is the last field of `rd_kafka_header_s`, and these two are the ones before it.
    unsafe { name.cast::<BeforeName>().sub(1).read_unaligned().name_size }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_keep_their_names_and_values_byte_for_byte() {
        let of = |name: &'static [u8], value: Option<&'static [u8]>| Header { name, value };
        let headers = [
            of(b"ce_id", Some(b"1")),
            of(b"\xff\xfe", Some(b"\0\xff")),
            of(b"zero\0inside", None),
            of(b"zero\0inside", Some(b"")),
            of(b"", Some(b"no name")),
            of(b"\0", None),
            of(b"ce_id", None),
        ];
        let owned = owned_headers(headers);
        let native = ptr::from_ref(owned.as_borrowed()).cast_mut().cast();
        assert_eq!(Headers::of(NonNull::new(native)).collect::<Vec<_>>(), headers);
    }
}
