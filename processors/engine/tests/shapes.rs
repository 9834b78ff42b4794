//! The shape of every view of this build. Where one changes, its table, SQL views, mapping or fold have changed: each
//! instance that has the view builds its next generation when this build begins to run.

use millrace_domain::registry::{Visitor, visit};
use millrace_domain::{Context, Effect, Log, Saga, Tally, View};
use millrace_engine::views::shape::Shape;

const KNOWN: &str = include_str!("shapes.txt");

#[derive(Default)]
struct Shapes(Vec<(&'static str, Shape)>);

impl Visitor for Shapes {
    fn context<C: Context>(&mut self) {}
    fn saga<S: Saga>(&mut self) {}
    fn effect<E: Effect>(&mut self) {}

    fn view<V: View>(&mut self) {
        self.0.push((V::NAME, Shape::of_view::<V>()));
    }

    fn tally<T: Tally>(&mut self) {
        self.0.push((T::NAME, Shape::of_tally::<T>()));
    }

    fn log<L: Log>(&mut self) {
        self.0.push((L::NAME, Shape::of_log::<L>()));
    }
}

fn shapes() -> Vec<(&'static str, Shape)> {
    let mut shapes = Shapes::default();
    visit(&mut shapes);
    shapes.0
}

#[test]
fn a_shape_that_changes_is_seen() {
    let line = |(name, shape): (&str, Shape)| format!("{name} {} {}\n", shape.fold, shape.fingerprint());
    let now: String = shapes().into_iter().map(line).collect();
    assert_eq!(now, KNOWN, "tests/shapes.txt has the shapes as they were: write down the new ones");
}

#[test]
fn every_table_tells_its_columns() {
    for (name, shape) in shapes().into_iter().filter(|(_, shape)| shape.table.is_some()) {
        let columns = shape.columns();
        for own in ["version", "updated_at"] {
            assert!(columns.iter().any(|(column, _)| column == own), "{name} has no {own}: {columns:?}");
        }
        assert!(columns.iter().all(|(_, kind)| !kind.is_empty()), "{name}: {columns:?}");
    }
}
