//! The searches of a dashboard's panels.

use serde_json::{Map, Value, json};

use super::fields::RECORDS;
use super::{Formula, SavedObject, find, kql, layer_reference, list, reference_of_panel, text};

/// A search and its index.
#[derive(Debug)]
pub struct Panel {
    /// The panel.
    pub title: String,
    /// The index alias.
    pub index: String,
    /// The body of `_search`.
    pub body: Value,
}

impl Panel {
    /// Every panel of a dashboard; one of Lens asks once for each layer.
    pub fn all(objects: &[SavedObject], dashboard: &SavedObject) -> Vec<Self> {
        let panels = dashboard.panels();
        let panels = panels.iter().flat_map(|panel| {
            let object = find(objects, text(&panel["type"]), &dashboard.linked(&reference_of_panel(panel)));
            match object.kind() {
                "search" => vec![saved_search(objects, dashboard, object)],
                "lens" => lens(objects, dashboard, object),
                other => panic!("a panel that shows a {other} is not known"),
            }
        });
        panels.collect()
    }

    /// The number of hits and buckets in an answer.
    pub fn found(&self, answer: &Value) -> usize {
        let hits = answer["hits"]["hits"].as_array().map_or(0, Vec::len);
        let buckets = answer["aggregations"].as_object().into_iter().flatten();
        let buckets = buckets.map(|(_, aggregation)| filled(&aggregation["buckets"]));
        let counted = answer["hits"]["total"]["value"].as_u64().filter(|_| !self.has_buckets());
        hits + buckets.sum::<usize>() + counted.map_or(0, |count| usize::from(count > 0))
    }

    /// Others show one number for all records that fit.
    fn has_buckets(&self) -> bool {
        let aggregations = self.body["aggs"].as_object().into_iter().flatten();
        aggregations
            .map(|(_, one)| one)
            .any(|one| ["sum", "avg", "max"].iter().all(|name| one.get(name).is_none()))
    }
}

/// Buckets with something in them. Of those that have names none may be empty: its filter could be misspelt.
fn filled(buckets: &Value) -> usize {
    let count = |bucket: &Value| bucket["doc_count"].as_u64().unwrap_or_default();
    let named: Vec<_> = buckets.as_object().into_iter().flatten().collect();
    let empty: Vec<_> = named.iter().filter(|(_, bucket)| count(bucket) == 0).collect();
    assert!(empty.is_empty(), "nothing is found for {empty:?}");
    let listed = buckets.as_array().into_iter().flatten();
    named.len() + listed.filter(|bucket| count(bucket) > 0).count()
}

/// A panel's own query, the dashboard's, and the time that the dashboard shows.
fn within(dashboard: &SavedObject, data_view: &SavedObject, query: &Value) -> Value {
    let [from, to] = ["timeFrom", "timeTo"].map(|end| text(dashboard.attribute(end)));
    let time = data_view.attribute("timeFieldName").as_str();
    let time = time.map(|field| json!({"range": {field: {"gte": from, "lte": to}}}));
    let queries = [kql::query(query), kql::query(&dashboard.search_source()["query"])];
    json!({"bool": {"filter": queries.into_iter().chain(time).collect::<Vec<_>>()}})
}

fn saved_search(objects: &[SavedObject], dashboard: &SavedObject, object: &SavedObject) -> Panel {
    let source = object.search_source();
    assert!(list(&source["filter"]).is_empty(), "filters of {} are not known", object.id());
    let data_view = find(objects, "index-pattern", &object.linked(text(&source["indexRefName"])));
    let sort = list(object.attribute("sort")).iter().map(|sort| {
        let [field, order] = [0, 1].map(|at| text(&list(sort)[at]));
        json!({field: {"order": order, "unmapped_type": "boolean"}})
    });
    let fields: Vec<Value> =
        list(object.attribute("columns")).iter().map(|column| json!({"field": column})).collect();
    let body = json!({
        "size": 500, "track_total_hits": true, "_source": false, "fields": fields,
        "sort": sort.collect::<Vec<_>>(), "query": within(dashboard, data_view, &source["query"]),
    });
    Panel::of(object, data_view, body)
}

fn lens(objects: &[SavedObject], dashboard: &SavedObject, object: &SavedObject) -> Vec<Panel> {
    let state = object.attribute("state");
    assert!(list(&state["filters"]).is_empty(), "filters of {} are not known", object.id());
    let layers = object.layers();
    let ids: Vec<&str> = shown(text(object.attribute("visualizationType")), &state["visualization"]);
    let panels = layers.iter().map(|(id, layer)| {
        assert!(ids.contains(&id.as_str()), "{} does not show its layer {id}", object.id());
        let data_view = find(objects, "index-pattern", &object.linked(&layer_reference(id)));
        let mut body = json!({
            "size": 0, "track_total_hits": true, "query": within(dashboard, data_view, &state["query"]),
        });
        let columns: Vec<(&str, &Value)> = columns(layer);
        if let Some(aggregations) = aggregations(&columns) {
            body["aggs"] = aggregations;
        }
        Panel::of(object, data_view, body)
    });
    panels.collect()
}

/// The layers that a visualization draws, whose columns must all be there.
fn shown<'v>(kind: &str, visualization: &'v Value) -> Vec<&'v str> {
    match kind {
        "lnsMetric" | "lnsDatatable" => vec![text(&visualization["layerId"])],
        "lnsXY" | "lnsPie" => {
            list(&visualization["layers"]).iter().map(|layer| text(&layer["layerId"])).collect()
        }
        other => panic!("the visualization {other} is not known"),
    }
}

/// The columns of a layer in the order in which they split what the one before left.
fn columns(layer: &Value) -> Vec<(&str, &Value)> {
    let order = list(&layer["columnOrder"]).iter().map(text);
    let columns = layer["columns"].as_object().expect("columns");
    assert_eq!(order.len(), columns.len(), "every column has its place");
    order.map(|id| (id, columns.get(id).unwrap_or_else(|| panic!("there is no column {id}")))).collect()
}

/// Buckets within buckets, and metrics in the innermost; nothing when records are only counted.
fn aggregations(columns: &[(&str, &Value)]) -> Option<Value> {
    let (buckets, metrics): (Vec<_>, Vec<_>) =
        columns.iter().copied().partition(|(_, column)| column["isBucketed"] == true);
    let metrics: Map<String, Value> =
        metrics.iter().flat_map(|(id, column)| metrics_of(id, column)).collect();
    let innermost = (!metrics.is_empty()).then_some(Value::Object(metrics));
    let all = innermost.clone().unwrap_or(Value::Null);
    buckets.into_iter().rev().fold(innermost, |within, (id, column)| {
        let mut aggregation = bucket(column, columns);
        // Every level has the metrics: one may order its buckets by them.
        let mut aggs = all.as_object().cloned().unwrap_or_default();
        aggs.extend(within.and_then(|within| within.as_object().cloned()).unwrap_or_default());
        if !aggs.is_empty() {
            aggregation["aggs"] = Value::Object(aggs);
        }
        Some(json!({id: aggregation}))
    })
}

/// The aggregations of a column.
fn metrics_of(id: &str, column: &Value) -> Map<String, Value> {
    match text(&column["operationType"]) {
        "formula" => Formula::of(column).aggregations(id),
        _ => metric(column).map(|metric| (id.to_owned(), metric)).into_iter().collect(),
    }
}

/// The aggregation of a metric; records are counted by Elasticsearch itself.
fn metric(column: &Value) -> Option<Value> {
    assert!(column.get("filter").is_none() && column.get("timeShift").is_none(), "{column} is not known");
    let field = text(&column["sourceField"]);
    match text(&column["operationType"]) {
        "count" if field == RECORDS => None,
        "sum" => Some(json!({"sum": {"field": field}})),
        "average" => Some(json!({"avg": {"field": field}})),
        "max" => Some(json!({"max": {"field": field}})),
        other => panic!("the operation {other} is not known"),
    }
}

fn bucket(column: &Value, columns: &[(&str, &Value)]) -> Value {
    match text(&column["operationType"]) {
        "terms" => terms(column, columns),
        "date_histogram" => {
            // For `auto` Kibana chooses one that suits the time that is shown, and asks for it by name.
            let interval = match text(&column["params"]["interval"]) {
                "auto" => "1M",
                known @ ("1d" | "1M") => known,
                other => panic!("the interval {other} is not known"),
            };
            let field = &column["sourceField"];
            json!({"date_histogram": {"field": field, "calendar_interval": interval, "min_doc_count": 1}})
        }
        "filters" => {
            let filters = list(&column["params"]["filters"]).iter();
            let filters =
                filters.map(|filter| (text(&filter["label"]).to_owned(), kql::query(&filter["input"])));
            json!({"filters": {"filters": filters.collect::<Map<String, Value>>()}})
        }
        other => panic!("the operation {other} is not known"),
    }
}

fn terms(column: &Value, columns: &[(&str, &Value)]) -> Value {
    let parameters = &column["params"];
    for (parameter, only) in [("otherBucket", false), ("missingBucket", false)] {
        assert_eq!(parameters[parameter], only, "{parameter} is not known otherwise");
    }
    assert_eq!(parameters["orderBy"]["type"], "column", "another order is not known");
    let by = text(&parameters["orderBy"]["columnId"]);
    let (_, metric_column) = columns.iter().find(|(id, _)| *id == by).expect("the column to order by");
    let by = if metric(metric_column).is_some() { by } else { "_count" };
    let direction = &parameters["orderDirection"];
    json!({"terms": {"field": column["sourceField"], "size": parameters["size"], "order": {by: direction}}})
}

impl Panel {
    fn of(object: &SavedObject, data_view: &SavedObject, body: Value) -> Self {
        let [title, index] = [object, data_view].map(|object| text(object.attribute("title")).to_owned());
        Self { title, index, body }
    }
}
