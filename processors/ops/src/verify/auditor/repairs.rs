//! Putting right what was found, in an operator's name: events emitted again, rows, documents.

use serde_json::json;

use super::Auditor;
use crate::audit::Operator;
use crate::failure::Failure;
use crate::postgres::Database;
use crate::roles::producer;
use crate::verify::emit;
use crate::verify::finding::Finding;
use crate::verify::index::{Index, Repaired, Source};
use crate::verify::repair::{self, RepairScope};
use crate::verify::report::Report;
use crate::verify::rows::{Looked, Rows};
use crate::verify::topics::{Lack, Missing};
use crate::verify::what::What;

impl Auditor<'_> {
    pub(super) async fn emit(&self, lack: &Lack, repairs: &mut RepairScope) -> Result<usize, Failure> {
        if lack.listed.is_empty() {
            return Ok(0);
        }
        let (mut emitted, producer) = (0, producer(self.config)?);
        for Missing { finding, rows } in &lack.listed {
            let Some(rows) = rows else { continue };
            if !repairs.admits(finding.what, &finding.name, &finding.key) {
                continue;
            }
            if !emit::emit(self.config, &self.write, &producer, rows).await? {
                continue;
            }
            let subject = format!("{}/{}", finding.name, finding.key);
            self.sign(&self.write, &repairs.operator, "emit again", &subject, &json!(finding)).await?;
            emitted += 1;
        }
        Ok(emitted)
    }

    async fn sign(
        &self,
        database: &Database,
        operator: &Operator,
        action: &str,
        subject: &str,
        details: &serde_json::Value,
    ) -> Result<(), Failure> {
        let fail = |error| database.failure(error);
        let mut connection = database.pool.acquire().await.map_err(fail)?;
        operator.sign(&mut connection, action, subject, details).await.map_err(fail)
    }

    pub(super) async fn repair_rows(
        &self,
        looked: &Looked<'_>,
        rows: &Rows,
        audited: &str,
        repairs: &mut RepairScope,
        report: &mut Report,
    ) -> Result<(), Failure> {
        for pair in &rows.drifted {
            if !repair::is_known(pair, rows.stuck) || !repairs.admits(What::Row, looked.name, &pair.key) {
                continue;
            }
            let row = repair::row(&self.read, looked, audited, pair, &repairs.operator).await;
            report.count_repair(looked.name, &pair.key, &row.map_err(|error| self.read.failure(error))?);
        }
        Ok(())
    }

    pub(super) async fn repair_documents(
        &self,
        index: &Index<'_>,
        source: &dyn Source,
        findings: &[Finding],
        repairs: &mut RepairScope,
        report: &mut Report,
    ) -> Result<(), Failure> {
        for finding in findings {
            if !repairs.admits(finding.what, &finding.name, &finding.key) {
                continue;
            }
            let repaired = index.repair(&finding.key, source).await?;
            if repaired == Repaired::Now {
                let subject = format!("{}/{}", index.reader.name, finding.key);
                self.sign(&self.read, &repairs.operator, "publish again", &subject, &json!(finding)).await?;
            }
            report.count_repair(&index.reader.name, &finding.key, &repaired);
        }
        Ok(())
    }
}
