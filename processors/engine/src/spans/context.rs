//! The context of a span, as the header `traceparent` carries it.

use sha2::{Digest as _, Sha256};

use crate::envelope;

/// Bytes of the header.
const HEADER_BYTES: usize = 55;
/// The bit of the flags that says that the trace is sampled.
const SAMPLED: u8 = 1;

/// The context of a span that is sampled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context {
    /// The trace.
    pub trace: [u8; 16],
    /// The span.
    pub span: [u8; 8],
    /// The flags of W3C Trace Context, carried on unchanged.
    pub flags: u8,
}

impl Context {
    /// The context of a header, if it is sampled.
    pub(super) fn sampled(traceparent: &str) -> Option<Self> {
        Self::read(traceparent).filter(|context| context.flags & SAMPLED != 0)
    }

    /// The context of a header, if it is valid.
    fn read(traceparent: &str) -> Option<Self> {
        let [of_trace, of_span, of_flags] = envelope::trace_parts(traceparent)?;
        let (mut trace, mut span, mut flags) = ([0; 16], [0; 8], [0; 1]);
        hex::decode_to_slice(of_trace, &mut trace).ok()?;
        hex::decode_to_slice(of_span, &mut span).ok()?;
        hex::decode_to_slice(of_flags, &mut flags).ok()?;
        let [flags] = flags;
        Some(Self { trace, span, flags })
    }

    /// The context of the span below this one that these texts name: the same whenever and wherever it is asked for.
    pub(crate) fn below(&self, names: &[&str]) -> Self {
        let mut hash = Sha256::new().chain_update(self.trace).chain_update(self.span);
        for name in names {
            hash.update(name.len().to_be_bytes());
            hash.update(name);
        }
        Self { span: begin(&hash.finalize()), ..*self }
    }

    /// A new trace.
    pub(crate) fn new_trace() -> Self {
        let (trace, span) = (uuid::Uuid::now_v7().into_bytes(), uuid::Uuid::now_v7().into_bytes());
        // The last half of a UUIDv7 is random.
        let random = span.get(8..).unwrap_or_default();
        Self { trace, span: begin(random), flags: SAMPLED }
    }

    /// A span below this one that nothing names.
    pub fn any_below(&self) -> Self {
        Self { span: Self::new_trace().span, ..*self }
    }

    /// The header `traceparent` of what follows from the span.
    pub fn header(&self) -> String {
        let mut header = String::with_capacity(HEADER_BYTES);
        header.push_str("00");
        for part in [&self.trace[..], &self.span[..], &[self.flags]] {
            header.push('-');
            let nibbles = part.iter().flat_map(|byte| [byte >> 4, byte & 15]);
            header.extend(nibbles.filter_map(|nibble| char::from_digit(nibble.into(), 16)));
        }
        header
    }
}

fn begin(bytes: &[u8]) -> [u8; 8] {
    bytes.first_chunk().copied().unwrap_or([1; 8])
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03";

    #[test]
    fn a_context_is_read_and_written_with_its_flags() {
        assert_eq!(Context::read(HEADER).unwrap().header(), HEADER);
    }

    #[test]
    fn a_span_below_another_is_the_same_at_every_attempt_and_its_own_for_every_name() {
        let above = Context::read(HEADER).unwrap();
        let below = |names: &[&str]| above.below(names);
        assert_eq!(below(&["orders", "evt", "1"]), below(&["orders", "evt", "1"]));
        let all = [below(&["a", "b"]), below(&["ab", ""]), below(&["b", "a"]), above.any_below(), above];
        let distinct: std::collections::HashSet<[u8; 8]> = all.iter().map(|context| context.span).collect();
        assert_eq!(distinct.len(), all.len());
        assert!(all.iter().all(|context| (context.trace, context.flags) == (above.trace, above.flags)));
    }
}
