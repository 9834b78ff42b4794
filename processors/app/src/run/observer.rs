//! The metrics of the namespace on `/metrics`: queried by one process, on a separate thread; Prometheus gets the latest values.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use millrace_engine::supervision::{Restarts, restarted};
use millrace_ops::config::Config;
use millrace_ops::failure::Failure;
use millrace_ops::notify::{Notifier, Seen};
use millrace_ops::observed::{ALL, Family, Figure, Observer};
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{GaugeVec, Opts};
use tokio::runtime::Builder;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The latest values.
#[derive(Clone, Default)]
struct Latest(Arc<RwLock<Vec<Figure>>>);

impl Latest {
    fn set(&self, figures: Vec<Figure>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = figures;
    }
}

/// Queries at intervals until `stop`, unless the interval is `never`.
///
/// # Errors
/// When no thread can be started.
pub(super) fn observe(
    config: Arc<Config>,
    restarts: Restarts,
    stop: CancellationToken,
) -> Result<(), Failure> {
    let Some(every) = config.metrics.interval else { return Ok(()) };
    let cannot =
        |error: std::io::Error| Failure::refused("the namespace cannot be observed").caused_by(error);
    let latest = Latest::default();
    let families = Families { namespace: config.namespace.to_string(), latest: latest.clone() };
    if let Err(error) = prometheus::register(Box::new(families)) {
        return Err(Failure::refused("the figures of the namespace cannot be exported").caused_by(error));
    }
    // Queries of Kafka block, so they do not run on the worker threads.
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().map_err(cannot)?;
    let attend = move || {
        let (seen, shown) = watch::channel(Seen::default());
        let looked = || again_and_again(&config, &restarts, &latest, &seen, every);
        runtime.spawn(notify(config.clone(), restarts.clone(), stop.clone(), shown));
        runtime.block_on(stop.run_until_cancelled(restarted("observer", &restarts, &stop, looked)));
        runtime.shutdown_background();
    };
    std::thread::Builder::new().name("observer".to_owned()).spawn(attend).map_err(cannot)?;
    Ok(())
}

/// A task of its own: the observer blocks while Kafka is away, and a request would be given up and sent again meanwhile.
async fn notify(
    config: Arc<Config>,
    restarts: Restarts,
    stop: CancellationToken,
    shown: watch::Receiver<Seen>,
) {
    restarted("notifier", &restarts, &stop, || tell(&config, &restarts, shown.clone())).await;
}

/// Tells operators what has changed. A receiver that does not answer delays nothing but this.
async fn tell(config: &Config, restarts: &Restarts, mut seen: watch::Receiver<Seen>) {
    let mut notifier = match Notifier::new(config) {
        Ok(Some(notifier)) => notifier,
        Ok(None) => return,
        Err(error) => {
            restarts.tasks().dead("notifier", &error.to_string());
            return tracing::error!(%error, "no error is told to operators");
        }
    };
    // Each look, since an outage that ends between two looks that are far apart is another one. How often is told is the notifier's.
    while seen.changed().await.is_ok() {
        let now = seen.borrow_and_update().clone();
        notifier.consider(&now).await;
    }
}

async fn again_and_again(
    config: &Config,
    restarts: &Restarts,
    latest: &Latest,
    seen: &watch::Sender<Seen>,
    every: Duration,
) {
    let mut observer = match Observer::new(config) {
        Ok(observer) => observer,
        Err(error) => {
            restarts.tasks().dead("observer", &error.to_string());
            return tracing::error!(%error, "the namespace is not observed");
        }
    };
    loop {
        match observer.look().await {
            Ok(figures) => {
                latest.set(figures.clone());
                seen.send_replace(Seen::Figures(figures.into()));
            }
            Err(error) => {
                latest.set(Vec::new());
                seen.send_replace(if matches!(error, Failure::Busy(_)) {
                    Seen::Elsewhere
                } else {
                    Seen::Away
                });
                tracing::debug!(%error, "another process exports the metrics of the namespace");
            }
        }
        tokio::time::sleep(every).await;
    }
}

/// Exports the latest values; none in a process that does not query.
struct Families {
    namespace: String,
    latest: Latest,
}

impl Families {
    fn gauges(&self, family: &Family) -> prometheus::Result<GaugeVec> {
        let named = Opts::new(family.name, family.meaning).const_label("namespace", &self.namespace);
        GaugeVec::new(named, family.labels)
    }

    fn filled(&self, family: &'static Family, figures: &[Figure]) -> prometheus::Result<GaugeVec> {
        let gauges = self.gauges(family)?;
        for figure in figures.iter().filter(|figure| std::ptr::eq(figure.family, family)) {
            let labels: Vec<&str> = figure.labels.iter().map(String::as_str).collect();
            gauges.get_metric_with_label_values(&labels)?.set(figure.value);
        }
        Ok(gauges)
    }
}

impl Collector for Families {
    fn desc(&self) -> Vec<&Desc> {
        Vec::new()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let figures = self.latest.0.read().unwrap_or_else(PoisonError::into_inner);
        // Names and labels are literals; a test exports all of them.
        let filled = ALL.iter().filter_map(|family| self.filled(family, &figures).ok());
        filled.flat_map(|gauges| gauges.collect()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_is_exported_with_its_labels_and_the_namespace() {
        let latest = Latest::default();
        let families = Families { namespace: "shop".to_owned(), latest: latest.clone() };
        assert!(families.collect().iter().all(|family| family.get_metric().is_empty()));
        latest.set(ALL.iter().map(|family| one(family)).collect());
        let exported = families.collect();
        assert_eq!(exported.len(), ALL.len());
        for (family, exported) in ALL.iter().zip(&exported) {
            let [series] = exported.get_metric() else { panic!("{exported:?}") };
            let named: Vec<&str> = series.get_label().iter().map(|label| label.name()).collect();
            let mut labels = [family.labels, &["namespace"]].concat();
            labels.sort_unstable();
            assert_eq!((exported.name(), named), (family.name, labels));
        }
    }

    fn one(family: &'static Family) -> Figure {
        Figure { family, labels: vec!["x".to_owned(); family.labels.len()], value: 1.0 }
    }
}
