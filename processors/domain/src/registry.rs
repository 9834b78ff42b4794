//! The registry of all contexts, views, sagas and effects. A new one is added here, in one line.

use crate::contexts::{
    accounts::Accounts, campaigns::Campaigns, carts::Carts, catalog::Catalog, customers::Customers,
    inventory::Inventory, notifications::Notifications, orders::Orders, payments::Payments, reviews::Reviews,
    subscriptions::Subscriptions,
};
use crate::effects::{audience::Audience, delivery::Delivery, mail::Mail, payment::Payment};
use crate::sagas::{checkout::CartCheckout, fulfilment::OrderFulfilment, renewal::SubscriptionRenewal};
use crate::views::{
    account_analytics::AccountAnalytics, account_balances::AccountBalanceView,
    account_statement::AccountStatementView, campaign_stats::CampaignStatsView, carts::CartView,
    customer_history::CustomerHistory, customer_purchases::CustomerPurchases,
    customer_revenue_daily::CustomerRevenueDaily, customers::CustomerView, deliveries::DeliveryView,
    events::EventLog, ledger_balances::LedgerBalances, orders::OrderView, payments::PaymentView,
    products::ProductView, revenue_daily::RevenueDaily, sales_daily::SalesDaily, segments::SegmentView,
    sold_lines::SoldLineView, stock_movements_daily::StockMovementsDaily,
    stock_reservations::StockReservationView, subscriptions::SubscriptionView,
};
use crate::{Context, Effect, Log, Refusal, Saga, Tally, View};

/// Visits all of them with their types, so that callers can build values for each.
pub trait Visitor {
    /// Called for every context.
    fn context<C: Context>(&mut self);
    /// Called for every view of rows.
    fn view<V: View>(&mut self);
    /// Called for every tally.
    fn tally<T: Tally>(&mut self);
    /// Called for every log.
    fn log<L: Log>(&mut self);
    /// Called for every saga.
    fn saga<S: Saga>(&mut self);
    /// Called for every effect.
    fn effect<E: Effect>(&mut self);
}

/// Passes all of this build's contexts, views, sagas and effects to a visitor.
pub fn visit(visitor: &mut impl Visitor) {
    visitor.context::<Customers>();
    visitor.context::<Catalog>();
    visitor.context::<Inventory>();
    visitor.context::<Carts>();
    visitor.context::<Orders>();
    visitor.context::<Payments>();
    visitor.context::<Subscriptions>();
    visitor.context::<Notifications>();
    visitor.context::<Reviews>();
    visitor.context::<Accounts>();
    visitor.context::<Campaigns>();

    visitor.saga::<CartCheckout>();
    visitor.saga::<OrderFulfilment>();
    visitor.saga::<SubscriptionRenewal>();

    visitor.effect::<Payment>();
    visitor.effect::<Mail>();
    visitor.effect::<Audience>();
    visitor.effect::<Delivery>();

    visitor.view::<ProductView>();
    visitor.view::<OrderView>();
    visitor.view::<CustomerView>();
    visitor.view::<PaymentView>();
    visitor.view::<StockReservationView>();
    visitor.view::<SubscriptionView>();
    visitor.view::<SoldLineView>();
    visitor.view::<CustomerHistory>();
    // Its SQL views read those of products.
    visitor.view::<CartView>();
    visitor.view::<SegmentView>();
    visitor.view::<CampaignStatsView>();
    visitor.view::<DeliveryView>();
    visitor.tally::<SalesDaily>();
    visitor.tally::<RevenueDaily>();
    // Its SQL views read those of customers.
    visitor.tally::<CustomerRevenueDaily>();
    visitor.tally::<CustomerPurchases>();
    visitor.view::<StockMovementsDaily>();
    // Its SQL views read those of customers.
    visitor.view::<AccountBalanceView>();
    visitor.view::<AccountStatementView>();
    visitor.tally::<AccountAnalytics>();
    visitor.tally::<LedgerBalances>();
    visitor.log::<EventLog>();
}

/// Every way in which a context refuses commands, by code.
pub fn refusals(context: &str) -> Vec<Refusal> {
    let mut found = Refusals { context, refusals: Vec::new() };
    visit(&mut found);
    found.refusals.sort_by_key(|refusal| refusal.code);
    found.refusals
}

struct Refusals<'c> {
    context: &'c str,
    refusals: Vec<Refusal>,
}

impl Visitor for Refusals<'_> {
    fn context<C: Context>(&mut self) {
        if C::NAME == self.context {
            self.refusals.extend(C::REFUSALS);
        }
    }

    fn view<V: View>(&mut self) {}

    fn tally<T: Tally>(&mut self) {}

    fn log<L: Log>(&mut self) {}

    fn saga<S: Saga>(&mut self) {}

    fn effect<E: Effect>(&mut self) {}
}
