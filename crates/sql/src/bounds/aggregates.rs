//! Aggregates that grow: lists, and texts of many rows.
//!
//! The engine counts what they gather. But as windows they give all that they have so far in every
//! row: a running `string_agg` over a million rows would make half a million million letters.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{Result, ScalarValue};
use datafusion::execution::SessionState;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, GroupsAccumulator, ReversedUDAF,
    Signature,
};
use datafusion::physical_expr::expressions::Literal;
use tidemill_connector::ConnectorError;

use super::budget::Budget;
use crate::error::pass;

const GROWING: [&str; 2] = ["array_agg", "string_agg"];
/// What `string_agg` puts between two texts.
const SEPARATOR_BYTES_MAX: usize = 64 * 1024;

/// The aggregates of a session that grow, behind the limit of a query.
pub(super) fn bound(state: &SessionState, budget: &Arc<Budget>) -> Vec<Arc<AggregateUDF>> {
    GROWING
        .iter()
        .filter_map(|name| state.aggregate_functions().get(*name))
        .map(|inner| Growing { inner: inner.clone(), budget: budget.clone() })
        .map(|growing| Arc::new(AggregateUDF::from(growing)))
        .collect()
}

#[derive(Debug)]
struct Growing {
    inner: Arc<AggregateUDF>,
    budget: Arc<Budget>,
}

impl PartialEq for Growing {
    fn eq(&self, other: &Self) -> bool {
        self.inner == other.inner
    }
}

impl Eq for Growing {}

impl Hash for Growing {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inner.hash(state);
    }
}

impl Growing {
    fn around(&self, inner: Arc<AggregateUDF>) -> Self {
        Self { inner, budget: self.budget.clone() }
    }

    fn counted(&self, inner: Box<dyn Accumulator>) -> Box<dyn Accumulator> {
        let (name, budget) = (self.inner.name().to_owned(), self.budget.clone());
        Box::new(Counted { inner, name, budget, given: 0 })
    }

    /// A long separator multiplies a batch before anyone counts.
    fn check(&self, args: &AccumulatorArgs) -> Result<()> {
        let separator = args.exprs.get(1).and_then(|e| e.downcast_ref::<Literal>());
        let bytes = separator.map_or(0, |s| s.value().size());
        if bytes <= SEPARATOR_BYTES_MAX {
            return Ok(());
        }
        Err(pass(
            ConnectorError::misconfigured(format!(
                "the separator of `{}` has {} KiB; at most {} are allowed",
                self.inner.name(),
                bytes.div_ceil(1024),
                SEPARATOR_BYTES_MAX / 1024
            ))
            .help("write a shorter one"),
        ))
    }
}

impl AggregateUDFImpl for Growing {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, given: &[DataType]) -> Result<DataType> {
        self.inner.return_type(given)
    }

    fn return_field(&self, given: &[FieldRef]) -> Result<FieldRef> {
        self.inner.return_field(given)
    }

    fn is_nullable(&self) -> bool {
        self.inner.is_nullable()
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(given)
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        self.inner.state_fields(args)
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        self.check(&args)?;
        Ok(self.counted(self.inner.accumulator(args)?))
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        self.check(&args)?;
        Ok(self.counted(self.inner.create_sliding_accumulator(args)?))
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        self.inner.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        self.check(&args)?;
        self.inner.create_groups_accumulator(args)
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.inner.order_sensitivity()
    }

    fn with_beneficial_ordering(
        self: Arc<Self>,
        ordered: bool,
    ) -> Result<Option<Arc<dyn AggregateUDFImpl>>> {
        let inner = AggregateUDF::clone(&self.inner).with_beneficial_ordering(ordered)?;
        Ok(inner.map(|inner| Arc::new(self.around(Arc::new(inner))) as Arc<dyn AggregateUDFImpl>))
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        match self.inner.reverse_udf() {
            ReversedUDAF::Reversed(inner) => {
                ReversedUDAF::Reversed(Arc::new(AggregateUDF::from(self.around(inner))))
            }
            other => other,
        }
    }

    fn supports_null_handling_clause(&self) -> bool {
        self.inner.supports_null_handling_clause()
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}

/// One aggregate, and the bytes of all that it gave.
#[derive(Debug)]
struct Counted {
    inner: Box<dyn Accumulator>,
    name: String,
    budget: Arc<Budget>,
    given: u128,
}

impl Accumulator for Counted {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.update_batch(values)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.inner.merge_batch(states)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.retract_batch(values)
    }

    fn supports_retract_batch(&self) -> bool {
        self.inner.supports_retract_batch()
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let value = self.inner.evaluate()?;
        self.given += value.size() as u128;
        self.budget.allow(&self.name, self.given)?;
        Ok(value)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.inner.state()
    }

    fn size(&self) -> usize {
        self.inner.size() + size_of_val(self)
    }
}
