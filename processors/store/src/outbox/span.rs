//! A range of versions of a stream.

/// A range of versions of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// The context.
    pub context: String,
    /// The stream.
    pub stream: String,
    /// The version before the first.
    pub above: i64,
    /// The last version.
    pub upto: i64,
}

impl Span {
    /// The range in pieces of at most `most` versions.
    pub fn pieces(&self, most: i64) -> impl Iterator<Item = Self> {
        let mut above = self.above;
        std::iter::from_fn(move || {
            let upto = self.upto.min(above + most);
            let piece = Self { above, upto, ..self.clone() };
            above = upto;
            (piece.above < piece.upto).then_some(piece)
        })
    }

    /// The stream: context and id.
    pub fn stream(&self) -> (String, String) {
        (self.context.clone(), self.stream.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_span_is_read_in_pieces() {
        let span = Span { context: "orders".to_owned(), stream: "1".to_owned(), above: 3, upto: 14 };
        let pieces: Vec<(i64, i64)> = span.pieces(5).map(|piece| (piece.above, piece.upto)).collect();
        assert_eq!(pieces, [(3, 8), (8, 13), (13, 14)]);
    }
}
