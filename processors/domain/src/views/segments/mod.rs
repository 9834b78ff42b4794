//! Segments: whom each takes.

use chrono::{DateTime, Utc};
use millrace_schemas::Event;
use millrace_schemas::campaigns::Event as Campaigns;
use serde::{Deserialize, Serialize};

use crate::{Recorded, View};

/// The view of segments.
#[derive(Debug)]
pub struct SegmentView;

/// One segment, as it was defined last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentRow {
    /// The segment.
    pub segment_id: String,
    /// Its name.
    pub name: String,
    /// The rule tree as JSON text.
    pub rules: String,
    /// When it was defined so.
    pub defined_at: DateTime<Utc>,
}

impl View for SegmentView {
    const NAME: &'static str = "segments";
    const CONTEXTS: &'static [&'static str] = &["campaigns"];
    const KEY: &'static str = "segment_id";
    const SHARED: bool = false;
    const TABLE: &'static str = include_str!("table.sql");
    const SQL_VIEW: &'static str = include_str!("view.sql");
    const CHECK: &'static str = include_str!("check.sql");
    const MAPPING: Option<&'static str> = None;
    type Row = SegmentRow;

    fn keys(recorded: &Recorded) -> Vec<String> {
        match &recorded.event {
            Event::Campaigns(Campaigns::SegmentDefined(event)) => vec![event.segment_id.clone()],
            _ => Vec::new(),
        }
    }

    fn evolve(row: SegmentRow, key: &str, recorded: &Recorded) -> SegmentRow {
        match &recorded.event {
            Event::Campaigns(Campaigns::SegmentDefined(event)) => SegmentRow {
                segment_id: key.to_owned(),
                name: event.name.clone(),
                rules: event.rules.clone(),
                defined_at: recorded.occurred_at,
            },
            _ => row,
        }
    }
}

#[cfg(test)]
mod tests {
    use millrace_schemas::campaigns::SegmentDefined;

    use super::*;
    use crate::testing::{assert_same_rows_in_any_order, assert_survives_storage, happened};
    use crate::views::tests::assert_table;

    fn defined(segment_id: &str, rules: &str) -> Event {
        let [segment_id, name, rules] = [segment_id, "Best", rules].map(str::to_owned);
        Event::Campaigns(SegmentDefined { segment_id, name, rules }.into())
    }

    #[test]
    fn a_segment_is_as_it_was_defined_last_and_others_do_not_touch_it() {
        let streams = [vec![defined("best", "{1}"), defined("best", "{2}")], vec![defined("other", "{3}")]];
        let rows = assert_same_rows_in_any_order::<SegmentView>(&streams);
        let best = &rows["best"];
        assert_eq!((best.name.as_str(), best.rules.as_str()), ("Best", "{2}"));
        assert_eq!((best.defined_at, rows["other"].rules.as_str()), (happened(2), "{3}"));
        assert_survives_storage(best);
    }

    #[test]
    fn the_table_has_the_rows_fields_in_order() {
        assert_table::<SegmentView>(&SegmentRow::default());
    }
}
