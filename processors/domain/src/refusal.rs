//! Refusals of a context, declared once, and the rejections that are made from them.

/// One way in which a context refuses commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// A stable code for programs, such as `order-empty`.
    pub code: &'static str,
    /// For people: the text after "refused when", such as `the order has no lines`.
    pub when: &'static str,
}

impl Refusal {
    /// A refusal with its code and the text after "refused when".
    pub const fn new(code: &'static str, when: &'static str) -> Self {
        Self { code, when }
    }

    /// The same code with another meaning.
    #[must_use]
    pub const fn meaning(self, when: &'static str) -> Self {
        Self { when, ..self }
    }

    /// The rejection of a command, with a message that names the field, the problem of its value, and how to correct it.
    pub fn because(self, message: impl Into<String>) -> Rejection {
        Rejection { code: self.code, message: message.into() }
    }
}

/// The rejection of a well-formed command by the business, with the reason. It is final, and never retried.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Rejection {
    /// The code of a [`Refusal`] of the context.
    pub code: &'static str,
    /// For people: names the field, the problem of its value, and how to correct it.
    pub message: String,
}

/// Declares the refusals of a context and lists them after the shared ones, so that every declared one is listed.
macro_rules! refusals {
    (
        shared: [$($shared:path),* $(,)?];
        $($name:ident = $code:literal when $when:literal;)*
    ) => {
        $(
            #[doc = concat!("Refused when ", $when, ".")]
            pub(crate) const $name: $crate::Refusal = $crate::Refusal::new($code, $when);
        )*

        /// All of them.
        pub(super) const ALL: &[$crate::Refusal] = &[$($shared,)* $($name,)*];
    };
}
pub(crate) use refusals;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::{Path, PathBuf};

    use crate::registry::{self, Visitor};
    use crate::{Context, Effect, Log, Refusal, Saga, Tally, View};

    #[derive(Default)]
    struct All(Vec<(&'static str, &'static [Refusal])>);

    impl Visitor for All {
        fn context<C: Context>(&mut self) {
            self.0.push((C::NAME, C::REFUSALS));
        }

        fn view<V: View>(&mut self) {}

        fn tally<T: Tally>(&mut self) {}

        fn log<L: Log>(&mut self) {}

        fn saga<S: Saga>(&mut self) {}

        fn effect<E: Effect>(&mut self) {}
    }

    fn contexts() -> Vec<(&'static str, &'static [Refusal])> {
        let mut all = All::default();
        registry::visit(&mut all);
        all.0
    }

    /// The text of a context's tests.
    fn tests_of(context: &str) -> String {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/contexts").join(context);
        let nested = fs::read_dir(folder.join("tests")).into_iter().flatten();
        let nested = nested.map(|file| file.expect("a file").path());
        let files: Vec<PathBuf> = nested.chain([folder.join("tests.rs")]).collect();
        files.iter().map(|file| fs::read_to_string(file).expect("tests")).collect()
    }

    #[test]
    fn a_context_declares_each_code_once() {
        for (context, refusals) in contexts() {
            let codes: BTreeSet<&str> = refusals.iter().map(|refusal| refusal.code).collect();
            assert_eq!(codes.len(), refusals.len(), "{context}: {refusals:#?}");
        }
    }

    #[test]
    fn every_refusal_is_named_in_a_test_of_its_context() {
        for (context, refusals) in contexts() {
            let tests = tests_of(context);
            let named = |refusal: &&Refusal| tests.contains(&format!("\"{}\"", refusal.code));
            let others: Vec<&str> = refusals.iter().filter(|r| !named(r)).map(|r| r.code).collect();
            assert!(others.is_empty(), "no test of {context} names {others:?}");
        }
    }
}
