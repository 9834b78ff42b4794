//! Members of groups: one for the commands, each saga and each effect, one for each live generation of a view, as the table of generations says.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::TryFutureExt as _;
use futures::future::OptionFuture;
use millrace_engine::metrics;
use millrace_engine::supervision::{Restarts, Watch, caught};
use millrace_ops::config::Config;
use millrace_ops::failure::Failure;
use millrace_ops::kafka::Reader;
use millrace_ops::layout::{self, Group, ReadModel, Side};
use millrace_ops::postgres::Database;
use millrace_ops::replay::build::{self, Wish};
use millrace_ops::replay::due::{self, Waiting};
use millrace_ops::replay::generations::{self, Generation, State};
use millrace_ops::replay::reset::{self, Asked, Consequence, Reset};
use millrace_ops::replay::session::Pair;
use millrace_ops::replay::{cutover, shapes};
use millrace_ops::roles::Roles;
use millrace_ops::setup::indices;
use millrace_store::replay;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::Selection;

/// How often the table of generations is read.
const FOLLOW_EVERY: Duration = Duration::from_secs(1);
/// How often it is checked whether a later build is still in a group that was left to it.
const LEFT_FOR: Duration = Duration::from_secs(5);

/// A role (the commands, a saga, an effect or a view), its generation and its Kafka group. A swap changes the groups of both
/// generations, since the serving one has the view's group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    name: String,
    generation: i32,
    group: String,
    serving: bool,
}

struct Running {
    watch: Watch,
    task: JoinHandle<()>,
}

/// Keeps the members of this process in accordance with the table of generations, checks for an operator's reset before it joins
/// a serving group, and manages every view: rebuilds are compared and swapped, and aliases updated.
pub(super) struct Members {
    config: Arc<Config>,
    selection: Selection,
    roles: Roles,
    write: Database,
    read: Database,
    models: HashMap<&'static str, ReadModel>,
    /// The groups of the write side in which this process works.
    writers: Vec<Group>,
    running: BTreeMap<Place, Running>,
    /// The running tasks by view; each returns the generation to which the alias points.
    tended: HashMap<String, JoinHandle<Option<i32>>>,
    /// The generation to which each alias points, as far as known.
    aliased: HashMap<String, i32>,
    complained: bool,
    /// The generations of other builds for which this build waits.
    waiting: Waiting,
    /// The groups that were left to later builds: the reason, and when it was last checked whether one is still in it.
    left: BTreeMap<Place, (String, Instant)>,
    /// The task that removes retired generations.
    removing: Option<JoinHandle<()>>,
    /// The views without a generation into which this build can fold, and the groups that it has left to later builds, with the
    /// reasons.
    idle: watch::Sender<Vec<String>>,
    stop: CancellationToken,
    restarts: Restarts,
}

impl Members {
    /// No group is joined yet.
    pub(super) fn new(
        config: &Config,
        selection: Selection,
        roles: Roles,
        (stop, restarts, idle): (CancellationToken, Restarts, watch::Sender<Vec<String>>),
    ) -> Result<Self, Failure> {
        let models = layout::read_models(config).into_iter().map(|model| (model.name, model)).collect();
        let writers = layout::groups(config).into_iter().filter(|group| group.side == Side::Write);
        let unable = roles.unable();
        let (unable_here, writers) = writers
            .filter(|group| selection.writer(group.role))
            .partition::<Vec<_>, _>(|group| unable.contains(&group.role));
        for Group { role, .. } in unable_here {
            tracing::warn!(
                effect = role,
                "no provider is configured for the effect's calls, so its events wait: set payment.url, mail.url or vendor.url"
            );
        }
        Ok(Self {
            write: Database::of(config, Side::Write)?,
            read: Database::of(config, Side::Read)?,
            config: Arc::new(config.clone()),
            selection,
            roles,
            models,
            writers,
            running: BTreeMap::new(),
            tended: HashMap::new(),
            aliased: HashMap::new(),
            complained: false,
            waiting: Waiting::default(),
            left: BTreeMap::new(),
            removing: None,
            idle,
            stop,
            restarts,
        })
    }

    /// Follows the table for ever. If a component does not answer, it is tried again, and members stay as they are.
    pub(super) async fn follow(&mut self) {
        self.restarts.tasks().runs("follower", None);
        let mut tick = tokio::time::interval(FOLLOW_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            self.restarts.tasks().goes_on("follower");
            match caught("follower", self.step()).await {
                Err(panic) => tokio::time::sleep(self.restarts.note("follower", &panic)).await,
                Ok(Ok(())) => self.complained = false,
                Ok(Err(error)) if self.complained => {
                    tracing::debug!(%error, "not all groups could be joined or left")
                }
                Ok(Err(error)) => {
                    self.complained = true;
                    tracing::warn!(%error, "not all groups could be joined or left; trying again");
                }
            }
        }
    }

    /// Waits until all members have left.
    pub(super) async fn ended(&mut self) {
        for (place, running) in std::mem::take(&mut self.running) {
            end(&place, running).await;
        }
    }

    async fn step(&mut self) -> Result<(), Failure> {
        self.notice_who_left();
        let joined = self.join_writers().await;
        let live = generations::live(&self.read.pool).map_err(|error| self.read.failure(error));
        let live = self.read.in_time(live).await?.into_iter();
        let live: Vec<Generation> = live.filter(|one| self.selection.view(&one.view)).collect();
        self.pause_builds(&live).await?;
        let unfit = self.read.in_time(shapes::unfit(&self.read, self.models.values(), &live)).await?;
        let is_fit = |one: &&Generation| !unfit.contains_key(&(one.view.clone(), one.generation));
        let places: Vec<Place> = live.iter().filter(is_fit).filter_map(|one| self.place(one)).collect();
        self.leave_all_but(&places).await;
        self.look_after_left(&places)?;
        self.report_idle(&live, &unfit);
        for place in places {
            self.join_view(place).await?;
        }
        for serving in live.iter().filter(|one| one.state == State::Serving) {
            self.tend(serving, &live).await;
        }
        self.remove_retired().await?;
        let chosen = self.models.values().filter(|model| self.selection.view(model.name));
        let begun = due::begin(&self.config, &self.read, chosen, (&live, &unfit), &mut self.waiting).await;
        joined.and(begun.map(|_| ()))
    }

    /// Removes retired generations once their members have left.
    async fn remove_retired(&mut self) -> Result<(), Failure> {
        if self.removing.as_ref().is_some_and(|task| !task.is_finished()) {
            return Ok(());
        }
        let retired = replay::to_remove(&self.read.pool).map_err(|error| self.read.failure(error));
        let retired = self.read.in_time(retired).await?;
        if retired.is_empty() {
            return Ok(());
        }
        let (config, read) = (self.config.clone(), self.read.clone());
        let models: Vec<ReadModel> = self.models.values().cloned().collect();
        self.removing = Some(tokio::spawn(async move {
            if let Err(error) = build::remove_retired(&config, &read, &models, &retired).await {
                tracing::warn!(%error, "not all of a retired generation is removed yet");
            }
        }));
        Ok(())
    }

    /// Reports the views without a generation into which this build can fold.
    fn report_idle(&self, live: &[Generation], unfit: &BTreeMap<(String, i32), String>) {
        let reason = |one: &Generation| unfit.get(&(one.view.clone(), one.generation));
        let idle = live.iter().filter(|one| one.state == State::Serving).filter_map(|serving| {
            let others = live.iter().filter(|one| one.view == serving.view);
            let none = others.into_iter().all(|one| reason(one).is_some());
            reason(serving).filter(|_| none).map(|reason| format!("{}: {reason}", serving.view))
        });
        let left = self.left.iter().map(|(place, (why, _))| format!("{}: build-too-old: {why}", place.group));
        let idle: Vec<String> = idle.chain(left).collect();
        self.idle.send_if_modified(|reported| {
            let other = *reported != idle;
            if other {
                idle.iter().for_each(|idle| tracing::error!("outage: {idle}"));
                *reported = idle;
            }
            other
        });
    }

    /// Pauses building generations at the offsets of the serving ones.
    async fn pause_builds(&self, live: &[Generation]) -> Result<(), Failure> {
        for building in live.iter().filter(|one| one.state == State::Building) {
            let is_beside = |one: &&Generation| one.view == building.view && one.state == State::Serving;
            let serving = live.iter().find(is_beside);
            if let (Some(model), Some(serving)) = (self.models.get(building.view.as_str()), serving) {
                let (namespace, number) = (&self.config.namespace, building.generation);
                let pair = Pair::new(namespace, model, serving.generation, number);
                self.read.in_time(pair.pause_at_serving(&self.read)).await?;
            }
        }
        Ok(())
    }

    /// Notices members that have left on their own, so that they join again; after a panic not before a delay.
    fn notice_who_left(&mut self) {
        for (place, Running { watch, .. }) in
            self.running.extract_if(.., |_, running| running.task.is_finished())
        {
            if let Some(panic) = watch.panicked() {
                self.restarts.note(&place.group, panic);
            } else if watch.gave_way().is_none() {
                self.restarts
                    .tasks()
                    .dead(&place.group, "it has left its group and has not joined it again yet");
            }
            if let Some(why) = watch.gave_way() {
                self.restarts.tasks().dead(&place.group, why);
                self.left.insert(place, (why.to_owned(), Instant::now()));
            }
        }
    }

    /// Joins a group again that was left to a later build, when no such build is in it any more.
    fn look_after_left(&mut self, places: &[Place]) -> Result<(), Failure> {
        let is_view = |place: &Place| self.models.contains_key(place.name.as_str());
        self.left.retain(|place, _| !is_view(place) || places.contains(place));
        let due = |(_, (_, looked)): &(&Place, &mut (String, Instant))| looked.elapsed() > LEFT_FOR;
        let mut free = Vec::new();
        for (place, (_, looked)) in self.left.iter_mut().filter(due) {
            *looked = Instant::now();
            let asked = || Reader::new(&self.config.kafka)?.later_member(&place.group);
            if tokio::task::block_in_place(asked)?.is_none() {
                free.push(place.clone());
            }
        }
        free.iter().for_each(|place| drop(self.left.remove(place)));
        Ok(())
    }

    /// Whether to join a group now.
    fn may_join(&self, place: &Place) -> bool {
        let is_free = !self.running.contains_key(place) && !self.left.contains_key(place);
        is_free && self.restarts.may_start(&place.group)
    }

    /// The place of a generation; `None` for a view that this build does not know.
    fn place(&self, one: &Generation) -> Option<Place> {
        let serving = one.state == State::Serving;
        let namespace = &self.config.namespace;
        let name = self.models.get(one.view.as_str())?.name;
        let group = match serving {
            true => namespace.group(name),
            false => namespace.generation_group(name, one.generation),
        };
        Some(Place { name: name.to_owned(), generation: one.generation, group, serving })
    }

    /// Ends members whose generation is retired or now has another group.
    async fn leave_all_but(&mut self, places: &[Place]) {
        let has_ended =
            |place: &Place| self.models.contains_key(place.name.as_str()) && !places.contains(place);
        let leaving: Vec<Place> = self.running.keys().filter(|place| has_ended(place)).cloned().collect();
        for running in leaving.iter().filter_map(|place| self.running.get(place)) {
            running.watch.leave().cancel();
        }
        for place in leaving {
            if let Some(running) = self.running.remove(&place) {
                end(&place, running).await;
            }
            self.restarts.tasks().forget(&place.group);
            let is_another =
                |other: &Place| (&other.name, other.generation) != (&place.name, place.generation);
            if places.iter().all(is_another) {
                self.forget(&place);
            }
        }
    }

    /// Removes the metrics of a retired generation.
    fn forget(&self, place: &Place) {
        let namespace = &self.config.namespace;
        let group = millrace_store::Group { id: namespace.group(&place.name), generation: place.generation };
        metrics::forget(&group, Some(&namespace.index(&place.name, place.generation)));
    }

    /// Joins the groups of the write side; an error of one group does not affect the others.
    async fn join_writers(&mut self) -> Result<(), Failure> {
        let mut joined = Ok(());
        for group in self.writers.clone() {
            let Group { role, id, topics, .. } = group;
            let place = Place { name: role.to_owned(), generation: 1, group: id, serving: true };
            if self.may_join(&place) {
                joined = joined.and(self.join_writer(place, &topics).await);
            }
        }
        joined
    }

    async fn join_writer(&mut self, place: Place, topics: &[String]) -> Result<(), Failure> {
        match reset::look(&self.config, &self.write, (&place.group, 1), topics).await? {
            Reset::None => {}
            Reset::Lost(what) => {
                return Err(Failure::refused(format!(
                    "{what}. Nothing is decided or sent: restore a newer copy; or set the offsets of {} with \
                     kafka-consumer-groups --reset-offsets to continue from there",
                    place.group
                )));
            }
            Reset::Asked(asked) => {
                say(&place.group, &asked, Side::Write);
                reset::rewind(&self.config, &self.write, &place.group, &asked.back).await?;
                reset::pass_deleted(&self.write, (&place.group, 1), &asked.past_deleted).await?;
            }
        }
        self.join(place)
    }

    async fn join_view(&mut self, place: Place) -> Result<(), Failure> {
        if !self.may_join(&place) {
            return Ok(());
        }
        if let Some(model) = self.models.get(place.name.as_str()).filter(|_| place.serving) {
            self.heed_reset(model, &place).await?;
        }
        self.join(place)
    }

    /// Records an operator's reset of a view once, before a process stamps the group's offsets.
    async fn heed_reset(&self, model: &ReadModel, place: &Place) -> Result<(), Failure> {
        let topics = model.topics(&self.config.namespace);
        let stands = (place.group.as_str(), place.generation);
        match reset::look(&self.config, &self.read, stands, &topics).await? {
            Reset::None => {}
            // Rows and offsets are equally old, so the events are applied again.
            Reset::Lost(what) => tracing::warn!(group = place.group, "{what}; the view continues from there"),
            Reset::Asked(asked) => {
                say(&place.group, &asked, Side::Read);
                reset::pass_deleted(&self.read, stands, &asked.past_deleted).await?;
                if !asked.back.is_empty() {
                    let reason = format!("the group was reset: {}", reset::listed(&asked.back));
                    let wish = Wish { asked_by: "reset", reason: &reason, accept_differences: false };
                    let generation = build::begin(&self.config, &self.read, model, wish).await?;
                    tracing::warn!(group = place.group, generation, "the view is rebuilt from its beginning");
                }
            }
        }
        Ok(())
    }

    fn join(&mut self, place: Place) -> Result<(), Failure> {
        let watch = Watch::new(&self.stop);
        let member = self.roles.join(&place.name, place.generation, &place.group, watch.clone())?;
        tracing::debug!(group = place.group, generation = place.generation, "joining");
        let beside = self.roles.beside(&place.name, watch.leave().clone());
        let over = watch.clone();
        self.restarts.tasks().runs(&place.group, Some(watch.clone()));
        let task = tokio::spawn(async move {
            let member = async {
                over.over("member", member.run()).await;
                over.leave().cancel();
            };
            let beside = over.over("beside", OptionFuture::from(beside));
            futures::join!(member, beside);
        });
        self.running.insert(place, Running { watch, task });
        Ok(())
    }

    /// Updates the alias, and compares a rebuild once it has caught up; an error of one view does not delay the others.
    async fn tend(&mut self, serving: &Generation, live: &[Generation]) {
        let Some(model) = self.models.get(serving.view.as_str()).cloned() else { return };
        let tending = format!("tending {}", model.name);
        if self.tended.get(model.name).is_some_and(|task| !task.is_finished())
            || !self.restarts.may_start(&tending)
        {
            return;
        }
        if let Some(task) = self.tended.remove(model.name)
            && let Ok(Some(aliased)) = task.await
        {
            self.aliased.insert(model.name.to_owned(), aliased);
        }
        let follows = self.aliased.get(model.name) != Some(&serving.generation);
        let is_build = |one: &Generation| one.view == model.name && one.state == State::Building;
        let builds = live.iter().any(|one| is_build(one) && one.is_of(&model.shape));
        if follows || builds {
            let (config, read, to) = (self.config.clone(), self.read.clone(), serving.clone());
            let restarts = self.restarts.clone();
            let work = async move {
                let aliased = if follows { indices::point_alias(&config, &model, &to).await } else { Ok(()) };
                if let Err(error) = &aliased {
                    tracing::warn!(view = model.name, %error, "the alias is not updated yet");
                }
                if builds && let Err(error) = cutover::attempt(&config, &read, &model).await {
                    tracing::warn!(view = model.name, %error, "the rebuild is not compared yet");
                }
                aliased.ok().map(|()| to.generation)
            };
            let noted = async move {
                let noted = |panic| restarts.note(&tending, &panic);
                caught("tending", work).await.map_err(noted).ok().flatten()
            };
            self.tended.insert(serving.view.clone(), tokio::spawn(noted));
        }
    }
}

/// Logs what follows from an operator's reset.
fn say(group: &str, asked: &Asked, side: Side) {
    for Consequence { what, refused } in asked.consequences(side) {
        match refused {
            true => tracing::error!(group, "{what}"),
            false => tracing::warn!(group, "{what}"),
        }
    }
}

async fn end(place: &Place, running: Running) {
    running.watch.leave().cancel();
    if let Err(error) = running.task.await {
        tracing::error!(group = place.group, %error, "a member failed");
    }
}
