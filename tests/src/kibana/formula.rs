//! The part of Lens's formulas that the shipped objects use: numbers, `+ - * /`, brackets, `floor`, `now()` and
//! `sum(field, kql='…')`. Lens asks Elasticsearch for the sums, and computes the rest itself.

use serde_json::{Map, Value, json};

use super::{kql, text};

/// A formula.
#[derive(Debug)]
pub struct Formula {
    term: Term,
    sums: Vec<Sum>,
}

#[derive(Debug)]
enum Term {
    Number(f64),
    /// Milliseconds since 1970.
    Now,
    /// The place of a sum among those of the formula.
    Sum(usize),
    Floor(Box<Self>),
    Pair(char, Box<[Self; 2]>),
}

#[derive(Debug)]
struct Sum {
    field: String,
    query: Value,
}

impl Formula {
    /// The formula of a column.
    pub fn of(column: &Value) -> Self {
        let words = text(&column["params"]["formula"]);
        let mut parser = Parser { rest: words, sums: Vec::new() };
        let term = parser.added();
        assert!(parser.rest.trim().is_empty(), "`{}` is not known in `{words}`", parser.rest);
        Self { term, sums: parser.sums }
    }

    /// The fields that are summed, and those that are asked.
    pub(crate) fn fields(&self) -> Vec<(&'static str, String)> {
        let summed = self.sums.iter().map(|sum| ("sum", sum.field.clone()));
        let asked = self.sums.iter().flat_map(|sum| kql::fields(&sum.query)).map(|field| ("query", field));
        summed.chain(asked).collect()
    }

    /// What Elasticsearch is asked for the column with this id.
    pub(crate) fn aggregations(&self, id: &str) -> Map<String, Value> {
        let each = self.sums.iter().enumerate().map(|(at, Sum { field, query })| {
            let sum = json!({"filter": kql::query(query), "aggs": {"sum": {"sum": {"field": field}}}});
            (format!("{id}X{at}"), sum)
        });
        each.collect()
    }

    /// Its value for a bucket of the answer, at a time in milliseconds since 1970.
    pub fn value(&self, id: &str, bucket: &Value, now: f64) -> f64 {
        let sum = |at: usize| bucket[format!("{id}X{at}")]["sum"]["value"].as_f64().expect("a sum");
        self.term.value(&sum, now)
    }
}

impl Term {
    fn value(&self, sum: &impl Fn(usize) -> f64, now: f64) -> f64 {
        match self {
            Self::Number(number) => *number,
            Self::Now => now,
            Self::Sum(at) => sum(*at),
            Self::Floor(term) => term.value(sum, now).floor(),
            Self::Pair(sign, pair) => {
                let [left, right] = [0, 1].map(|side: usize| pair[side].value(sum, now));
                match sign {
                    '+' => left + right,
                    '-' => left - right,
                    '*' => left * right,
                    _ => left / right,
                }
            }
        }
    }
}

struct Parser<'w> {
    rest: &'w str,
    sums: Vec<Sum>,
}

impl<'w> Parser<'w> {
    fn added(&mut self) -> Term {
        let first = self.multiplied();
        self.chained(first, ['+', '-'], Self::multiplied)
    }

    fn multiplied(&mut self) -> Term {
        let first = self.single();
        self.chained(first, ['*', '/'], Self::single)
    }

    fn chained(&mut self, first: Term, signs: [char; 2], next: fn(&mut Self) -> Term) -> Term {
        let mut term = first;
        while let Some(sign) = signs.into_iter().find(|sign| self.takes(&sign.to_string())) {
            term = Term::Pair(sign, Box::new([term, next(self)]));
        }
        term
    }

    fn single(&mut self) -> Term {
        if self.takes("(") {
            return self.closed(Self::added);
        }
        let word = self.until(|c| !c.is_ascii_alphanumeric());
        match word {
            "now" if self.takes("(") => self.closed(|_| Term::Now),
            "floor" if self.takes("(") => self.closed(|inner| Term::Floor(Box::new(inner.added()))),
            "sum" if self.takes("(") => self.closed(Self::sum),
            number => Term::Number(number.parse().unwrap_or_else(|_| panic!("`{word}` is not known"))),
        }
    }

    fn sum(&mut self) -> Term {
        let field = self.until(|c| c == ',').to_owned();
        assert!(self.takes(",") && self.takes("kql='"), "a sum without a condition is not known");
        let query = json!({"language": "kuery", "query": self.until(|c| c == '\'')});
        assert!(self.takes("'"), "the condition has no end");
        self.sums.push(Sum { field, query });
        Term::Sum(self.sums.len() - 1)
    }

    fn closed(&mut self, inner: impl FnOnce(&mut Self) -> Term) -> Term {
        let term = inner(self);
        assert!(self.takes(")"), "a bracket has no end before `{}`", self.rest);
        term
    }

    fn takes(&mut self, sign: &str) -> bool {
        let rest = self.rest.trim_start().strip_prefix(sign);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn until(&mut self, end: impl Fn(char) -> bool) -> &'w str {
        let rest = self.rest.trim_start();
        let (word, rest) = rest.split_at(rest.find(end).unwrap_or(rest.len()));
        self.rest = rest;
        word
    }
}
