//! What holds whatever has happened: of the history at each event, of stock and money at the end.

use std::collections::{HashMap, HashSet};

use millrace_domain::Saga as _;
use millrace_domain::contexts::orders::Status;
use millrace_domain::sagas::fulfilment::OrderFulfilment;
use millrace_schemas::Event;
use millrace_schemas::payments::Event as PaymentEvent;

use super::{PRODUCTS, STOCK, World};

impl World {
    pub(super) fn check(&self) {
        self.check_history();
        assert_eq!(self.authorised, HashSet::new(), "no authorisation is left over");
        let mut left = HashMap::from(PRODUCTS.map(|product| (product, STOCK)));
        for (id, saga) in &self.sagas {
            let state = saga.state.clone().unwrap().unwrap();
            let standing = OrderFulfilment::standing(&state);
            assert!(standing.ended, "order {id} is left {}: {state:?}", standing.name);
            assert!(!self.timers.contains(id), "nothing is set for order {id} any more");
            let order = &self.orders[id];
            let fulfilled = standing.name == "fulfilled";
            assert_eq!(order.status, if fulfilled { Status::Confirmed } else { Status::Cancelled }, "{id}");
            assert_eq!(self.paid(id), if fulfilled { order.total } else { 0 }, "money of order {id}");
            for line in order.lines.iter().filter(|_| fulfilled) {
                *left.get_mut(line.product_id.as_str()).unwrap() -= line.quantity;
            }
        }
        for product in PRODUCTS {
            let stock = &self.stock[product];
            assert_eq!((stock.reserved(), stock.on_hand), (0, left[product]), "stock of {product}");
        }
    }

    /// Captured and not paid back.
    fn paid(&self, order: &str) -> i64 {
        let amount = |event: &Event| match event {
            Event::Payments(PaymentEvent::PaymentCaptured(event)) if event.order_id == order => event.amount,
            Event::Payments(PaymentEvent::PaymentRefunded(event)) if event.order_id == order => -event.amount,
            _ => 0,
        };
        self.history.iter().map(amount).sum()
    }

    fn check_history(&self) {
        let (mut reserved, mut captured, mut on_hand) = (HashSet::new(), HashSet::new(), HashMap::new());
        let mut authorised = HashSet::new();
        for event in &self.history {
            match event {
                Event::Inventory(event) => {
                    use millrace_schemas::inventory::Event::*;
                    let (product, change) = match event {
                        StockReserved(event) => {
                            reserved.insert(event.reservation_id.clone());
                            (&event.product_id, 0)
                        }
                        StockReleased(event) => (&event.product_id, 0),
                        StockReceived(event) => (&event.product_id, event.quantity),
                        StockReturned(event) => (&event.product_id, event.quantity),
                        StockShipped(event) => (&event.product_id, -event.quantity),
                        StockAdjusted(event) => (&event.product_id, event.difference),
                    };
                    let units = on_hand.entry(product.clone()).or_insert(0);
                    *units += change;
                    assert!(*units >= 0, "stock of {product} fell below nothing");
                }
                Event::Payments(PaymentEvent::PaymentRequested(event)) => {
                    assert!(reserved.contains(&event.order_id), "asked to pay what was never reserved");
                }
                Event::Payments(PaymentEvent::PaymentAuthorised(event)) => {
                    authorised.insert(event.order_id.clone());
                }
                Event::Payments(PaymentEvent::CaptureRequested(event)) => {
                    assert!(authorised.contains(&event.order_id), "asked for what was never authorised");
                }
                Event::Payments(PaymentEvent::PaymentCaptured(event)) => {
                    assert!(captured.insert(event.order_id.clone()), "captured twice");
                }
                _ => {}
            }
        }
    }
}
