CREATE OR REPLACE VIEW {view} AS
SELECT ledger_account, currency, debit, credit, version, updated_at
FROM {table}
WHERE version > 0;

-- By currency: debit and credit are equal always, cash is what all accounts hold, and nothing is in transit once both
-- sides of every transfer are folded.
CREATE OR REPLACE VIEW {schema}.ledger_trial_balance AS
SELECT currency,
       sum(debit) AS debit,
       sum(credit) AS credit,
       sum(debit) - sum(credit) AS difference,
       coalesce(sum(debit - credit) FILTER (WHERE ledger_account = 'cash'), 0) AS cash,
       coalesce(sum(credit - debit) FILTER (WHERE ledger_account = 'transit'), 0) AS transit,
       coalesce(sum(credit - debit) FILTER (WHERE ledger_account NOT IN ('cash', 'transit')), 0) AS accounts
FROM {view}
GROUP BY 1;
