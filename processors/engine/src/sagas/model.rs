//! A model test: the fulfilment saga, the real contexts that it sends commands to, and a provider, in memory. In whatever order
//! inputs arrive, twice or late, each order ends with one outcome, and stock and money agree with it.

mod checks;

use std::collections::{BTreeMap, HashSet, VecDeque};

use chrono::DateTime;
use millrace_domain::contexts::inventory::{Inventory, Stock};
use millrace_domain::contexts::orders::{Order, Orders};
use millrace_domain::contexts::payments::{Payment, Payments};
use millrace_domain::sagas::fulfilment::{Fulfilment, OrderFulfilment};
use millrace_domain::{Context, Recorded, Reference, References, Saga as _, Streams, Timer};
use millrace_schemas::inventory::StockReceived;
use millrace_schemas::orders::{CancelOrder, OrderPlaced, OrderPlacedLine};
use millrace_schemas::payments::{
    AuthorisePayment, CapturePayment, CompleteRefund, DeclinePayment, Event as PaymentEvent, FailRefund,
};
use millrace_schemas::{Command, CommandRejected, DEFINITIONS, Event};
use proptest::prelude::*;
use uuid::Uuid;

use super::input::{Received, What};
use super::instance::Instance;
use crate::outbox::SchemaIds;

const PRODUCTS: [&str; 2] = ["tea", "salt"];
const STOCK: i64 = 5;
const PRICE: i64 = 700;

/// A stream or a key of a context.
type Place = (&'static str, String);
type Saga = Instance<OrderFulfilment>;

/// What may happen next.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Action {
    Decide(Place),
    Receive(Place),
    ReceiveAgain(Place),
    ReceiveRejection(usize),
    Answer(usize, bool),
    FireTimer(String),
    Cancel(String),
}

/// A call that the provider has not answered.
#[derive(Debug, Clone)]
enum Call {
    Authorise { order_id: String, amount: i64 },
    Capture { order_id: String, amount: i64 },
    Release { order_id: String },
    Refund { order_id: String, refund_id: String },
}

#[derive(Default)]
struct World {
    sagas: BTreeMap<String, Saga>,
    timers: HashSet<String>,
    stock: BTreeMap<String, Stock>,
    orders: BTreeMap<String, Order>,
    payments: BTreeMap<String, Payment>,
    commands: BTreeMap<Place, VecDeque<(Uuid, Command)>>,
    /// The events of each stream, and how many of them the sagas have received.
    events: BTreeMap<Place, (Vec<Recorded>, usize)>,
    rejections: Vec<CommandRejected>,
    calls: Vec<Call>,
    /// The orders whose money is authorised at the provider.
    authorised: HashSet<String>,
    /// Everything that has happened, in the order in which it was decided.
    history: Vec<Event>,
    ids: SchemaIds,
    cancels: u32,
}

impl World {
    fn new(orders: &[(i64, bool)]) -> Self {
        let ids = DEFINITIONS.iter().map(|definition| (definition.full_name, 1)).collect();
        let mut world = Self { ids, ..Self::default() };
        for product in PRODUCTS {
            let received = StockReceived { product_id: product.to_owned(), quantity: STOCK };
            world.happen::<Inventory>(product, received.into(), None);
        }
        for (number, (quantity, both)) in orders.iter().enumerate() {
            let products = if *both { &PRODUCTS[..] } else { &PRODUCTS[..1] };
            let order_id = number.to_string();
            world.happen::<Orders>(&order_id, placed(&order_id, *quantity, products), None);
        }
        world
    }

    fn states<C: Context>(&mut self) -> &mut BTreeMap<String, C::State> {
        let states: &mut dyn std::any::Any = match C::NAME {
            "inventory" => &mut self.stock,
            "orders" => &mut self.orders,
            _ => &mut self.payments,
        };
        states.downcast_mut().expect("a context of the model")
    }

    fn happen<C: Context>(&mut self, stream: &str, event: C::Event, cause: Option<Uuid>)
    where
        Event: From<C::Event>,
    {
        let state = C::evolve(self.states::<C>().remove(stream), &event);
        self.states::<C>().extend(state.map(|state| (stream.to_owned(), state)));
        let event = Event::from(event);
        self.call_for(&event);
        self.history.push(event.clone());
        let (known, _) = self.events.entry((C::NAME, stream.to_owned())).or_default();
        known.push(Recorded {
            id: Uuid::now_v7().to_string(),
            stream: stream.to_owned(),
            version: known.len() as i64 + 1,
            occurred_at: DateTime::UNIX_EPOCH,
            correlation_id: None,
            causation_id: cause.map(|id| id.to_string()),
            traceparent: None,
            event,
        });
    }

    /// The payment effect, whose calls a void does not stop.
    fn call_for(&mut self, event: &Event) {
        match event {
            Event::Payments(PaymentEvent::PaymentRequested(event)) => {
                self.calls.push(Call::Authorise { order_id: event.order_id.clone(), amount: event.amount });
            }
            Event::Payments(PaymentEvent::CaptureRequested(event)) => {
                self.calls.push(Call::Capture { order_id: event.order_id.clone(), amount: event.amount });
            }
            Event::Payments(PaymentEvent::PaymentVoided(event)) if event.provider_reference.is_some() => {
                self.calls.push(Call::Release { order_id: event.order_id.clone() });
            }
            Event::Payments(PaymentEvent::PaymentDeclined(event)) if event.provider_reference.is_some() => {
                self.calls.push(Call::Release { order_id: event.order_id.clone() });
            }
            Event::Payments(PaymentEvent::RefundRequested(event)) => {
                let (order_id, refund_id) = (event.order_id.clone(), event.refund_id.clone());
                self.calls.push(Call::Refund { order_id, refund_id });
            }
            _ => {}
        }
    }

    fn send(&mut self, id: Uuid, command: Command) {
        let place = (command.context(), command.key().to_owned());
        self.commands.entry(place).or_default().push_back((id, command));
    }

    /// The actions that are possible now. Those of people and of time are included only if `restless`, so that the run can end.
    fn possible(&self, restless: bool) -> Vec<Action> {
        let decide = self.commands.iter().filter(|(_, waiting)| !waiting.is_empty());
        let mut possible: Vec<Action> = decide.map(|(place, _)| Action::Decide(place.clone())).collect();
        let left = self.events.iter().filter(|(_, (known, received))| *received < known.len());
        possible.extend(left.map(|(place, _)| Action::Receive(place.clone())));
        possible.extend((0..self.rejections.len()).map(Action::ReceiveRejection));
        for call in 0..self.calls.len() {
            possible.push(Action::Answer(call, true));
            possible.extend(restless.then_some(Action::Answer(call, false)));
        }
        if restless {
            let received = self.events.iter().filter(|(_, (_, received))| *received > 0);
            possible.extend(received.map(|(place, _)| Action::ReceiveAgain(place.clone())));
            possible.extend(self.timers.iter().cloned().map(Action::FireTimer));
            possible.extend(self.orders.keys().filter(|_| self.cancels < 3).cloned().map(Action::Cancel));
        }
        possible.sort_by_key(|action| format!("{action:?}"));
        possible
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Decide(place) => self.decide_next(&place),
            Action::Receive(place) => {
                let (known, received) = self.events.get_mut(&place).unwrap();
                let event = known[*received].clone();
                *received += 1;
                self.receive(event.id.clone(), What::Event(Box::new(event)));
            }
            Action::ReceiveAgain(place) => {
                let (known, received) = &self.events[&place];
                let event = known[*received - 1].clone();
                self.receive(event.id.clone(), What::Event(Box::new(event)));
            }
            Action::ReceiveRejection(number) => {
                let rejection = self.rejections.remove(number);
                self.receive(Uuid::now_v7().to_string(), What::Rejection(rejection));
            }
            Action::Answer(number, well) => {
                let call = self.calls.remove(number);
                if let Some(command) = self.answer(call, well) {
                    self.send(Uuid::now_v7(), command);
                }
            }
            Action::FireTimer(order) => {
                self.timers.remove(&order);
                let input = Received::timer(&order, "deadline", Uuid::now_v7(), chrono::Utc::now());
                self.step(&order, &input);
            }
            Action::Cancel(order_id) => {
                self.cancels += 1;
                let reason = "changed my mind".to_owned();
                let command = millrace_schemas::orders::Command::from(CancelOrder { order_id, reason });
                self.send(Uuid::now_v7(), command.into());
            }
        }
    }

    fn receive(&mut self, id: String, what: What) {
        if let Some(input) = Received::to::<OrderFulfilment>(id, what) {
            self.step(&input.instance, &input);
        }
    }

    /// One batch of one record. The first attempt is lost in a crash; the second must do the same.
    fn step(&mut self, order: &str, input: &Received) {
        let mut lost = self.load(order);
        let mut instance = self.load(order);
        let first = lost.react(input, &self.ids).expect("nothing is impossible here");
        let second = instance.react(input, &self.ids).expect("nothing is impossible here");
        assert_eq!(first, second);
        let sent = |instance: &Saga| instance.outbox.iter().map(|row| row.id).collect::<Vec<_>>();
        assert_eq!(sent(&lost), sent(&instance), "a second try sends the same commands");
        for row in std::mem::take(&mut instance.outbox) {
            let body = millrace_schemas::unframe(&row.payload).unwrap().1;
            let writer =
                DEFINITIONS.iter().find(|definition| definition.full_name == row.record_type).unwrap();
            let writer = millrace_schemas::WriterSchema::parse(writer.avsc).unwrap();
            self.send(row.id, Command::decode(&writer, body).unwrap());
        }
        for timer in instance.timers.values() {
            match timer {
                Timer::Set(_) | Timer::SetAt(..) => self.timers.insert(order.to_owned()),
                Timer::Cancel(_) => self.timers.remove(order),
            };
        }
        instance.timers.clear();
        self.sagas.insert(order.to_owned(), instance);
    }

    /// The instance as it would be read from Postgres.
    fn load(&self, order: &str) -> Saga {
        let Some(known) = self.sagas.get(order) else { return Instance::new(order) };
        let state = known.state.clone().unwrap().map(|state| {
            let json = serde_json::to_value(&state).unwrap();
            serde_json::from_value::<Fulfilment>(json).unwrap()
        });
        let steps = known.steps.iter().map(|step| super::instance::Taken {
            input_id: step.input_id.clone(),
            input: step.input.clone(),
            sent: step.sent.clone(),
            ..*step
        });
        Instance {
            state: Ok(state),
            awaiting: known.awaiting.clone(),
            sent: known.sent.clone(),
            steps: steps.collect(),
            ..Instance::new(order)
        }
    }

    fn decide_next(&mut self, place: &Place) {
        let (id, command) = self.commands.get_mut(place).unwrap().pop_front().unwrap();
        match command {
            Command::Inventory(command) => self.decide::<Inventory>(id, &command),
            Command::Orders(command) => self.decide::<Orders>(id, &command),
            Command::Payments(command) => self.decide::<Payments>(id, &command),
            // Whether the customer is notified changes nothing.
            Command::Notifications(_) => {}
            other => panic!("{other:?}"),
        }
    }

    fn decide<C: Context>(&mut self, id: Uuid, command: &C::Command)
    where
        Event: From<C::Event>,
        Command: From<C::Command>,
    {
        let mut references = References::default();
        for reference in C::references(command) {
            let state = serde_json::to_string(&self.orders[&reference.id]).unwrap();
            references.insert(Reference::to::<Orders>(&reference.id), state);
        }
        let named = C::streams(command);
        let states = self.states::<C>();
        let streams: Streams<C::State> =
            named.iter().filter_map(|id| Some((id.clone(), states.get(id)?.clone()))).collect();
        match C::decide(&streams, &references, command) {
            Ok(events) => {
                for emitted in events {
                    self.happen::<C>(&emitted.stream, emitted.event, Some(id));
                }
            }
            Err(rejection) => {
                let command = Command::from(command.clone());
                self.rejections.push(CommandRejected {
                    stream: command.key().to_owned(),
                    command_id: id.to_string(),
                    command_source: "/model".to_owned(),
                    command_type: command.full_name().to_owned(),
                    code: rejection.code.to_owned(),
                    message: rejection.message,
                });
            }
        }
    }

    /// The provider's action, and the command of the effect that follows. Of a capture and a release the first one decides.
    fn answer(&mut self, call: Call, well: bool) -> Option<Command> {
        use millrace_schemas::payments::Command as Payments;
        let text = |text: &str| text.to_owned();
        let declined =
            |order_id| DeclinePayment { order_id, code: text("no-funds"), reason: text("no funds") };
        let command: Payments = match call {
            Call::Authorise { order_id, amount } if well => {
                self.authorised.insert(order_id.clone());
                AuthorisePayment { order_id, amount, provider_reference: text("a") }.into()
            }
            Call::Capture { order_id, amount } if well && self.authorised.remove(&order_id) => {
                CapturePayment { order_id, amount, provider_reference: text("c") }.into()
            }
            // What is not captured stays authorised.
            Call::Authorise { order_id, .. } | Call::Capture { order_id, .. } => declined(order_id).into(),
            Call::Release { order_id } => {
                self.authorised.remove(&order_id);
                return None;
            }
            Call::Refund { order_id, refund_id } if well => {
                CompleteRefund { order_id, refund_id, provider_reference: text("r") }.into()
            }
            Call::Refund { order_id, refund_id } => {
                FailRefund { order_id, refund_id, reason: text("the account is closed") }.into()
            }
        };
        Some(command.into())
    }
}

fn placed(order_id: &str, quantity: i64, products: &[&str]) -> millrace_schemas::orders::Event {
    let line = |product: &&str| OrderPlacedLine {
        product_id: (*product).to_owned(),
        product_name: (*product).to_owned(),
        category: "food".to_owned(),
        quantity,
        unit_price: PRICE,
        discount_bp: 0,
        amount: quantity * PRICE,
    };
    OrderPlaced {
        order_id: order_id.to_owned(),
        customer_id: "ana".to_owned(),
        customer_name: "Ana".to_owned(),
        customer_country: None,
        currency: "EUR".to_owned(),
        placed_at: 0,
        lines: products.iter().map(line).collect(),
        total: quantity * PRICE * products.len() as i64,
        ship_to: None,
    }
    .into()
}

/// Runs until no action is left; then operators cancel again the orders that the provider has not refunded.
fn come_to_rest(world: &mut World) {
    loop {
        while let Some(action) = world.possible(false).into_iter().next() {
            world.act(action);
        }
        let stuck = world.sagas.iter().find(|(_, saga)| {
            let state = saga.state.clone().unwrap().unwrap();
            !OrderFulfilment::standing(&state).ended
        });
        let Some((order, _)) = stuck.map(|(order, saga)| (order.clone(), saga.version)) else { return };
        let before = world.history.len();
        world.step(&order, &Received::by_hand(&order, "look again"));
        while let Some(action) = world.possible(false).into_iter().next() {
            world.act(action);
        }
        assert!(world.history.len() > before, "order {order} does not move: {:?}", world.sagas[&order].state);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn whatever_comes_when_every_order_ends_with_one_outcome(
        orders in prop::collection::vec((1_i64..4, any::<bool>()), 1..5),
        choices in prop::collection::vec(any::<u16>(), 0..150),
    ) {
        let mut world = World::new(&orders);
        for choice in choices {
            let possible = world.possible(true);
            if possible.is_empty() {
                break;
            }
            world.act(possible[usize::from(choice) % possible.len()].clone());
        }
        come_to_rest(&mut world);
        world.check();
    }
}
