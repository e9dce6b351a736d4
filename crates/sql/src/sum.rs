//! `sum` of whole numbers, which says when the sum does not fit.
//!
//! The engine's own lets it wrap around. Sums of other types are left to it.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array};
use arrow::datatypes::{DataType, FieldRef, Int64Type};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::functions_aggregate::sum::sum_udaf;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, ReversedUDAF,
    Signature, utils::AggregateOrderSensitivity,
};

/// The function, under the engine's name.
pub(crate) fn checked_sum() -> Arc<AggregateUDF> {
    Arc::new(AggregateUDF::from(Sum { inner: sum_udaf() }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Sum {
    inner: Arc<AggregateUDF>,
}

fn is_ours(args: &AccumulatorArgs) -> bool {
    !args.is_distinct && args.return_field.data_type() == &DataType::Int64
}

impl AggregateUDFImpl for Sum {
    fn name(&self) -> &'static str {
        "sum"
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, given: &[DataType]) -> Result<DataType> {
        self.inner.return_type(given)
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        self.inner.state_fields(args)
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if is_ours(&args) { Ok(Box::new(Total::default())) } else { self.inner.accumulator(args) }
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if is_ours(&args) {
            Ok(Box::new(Total::default()))
        } else {
            self.inner.create_sliding_accumulator(args)
        }
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        self.inner.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        if is_ours(&args) {
            Ok(Box::new(Totals::default()))
        } else {
            self.inner.create_groups_accumulator(args)
        }
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}

/// One sum. Values may leave it again, as a window moves on.
#[derive(Debug, Default)]
struct Total {
    sum: i128,
    values: u64,
}

impl Total {
    fn fold(&mut self, column: &ArrayRef, sign: i128) {
        let numbers = column.as_primitive::<Int64Type>();
        // 2^64 numbers of 64 bits fit into 128.
        self.sum += sign * numbers.iter().flatten().map(i128::from).sum::<i128>();
        let values = (numbers.len() - numbers.null_count()) as u64;
        self.values = if sign > 0 { self.values + values } else { self.values - values };
    }
}

impl Accumulator for Total {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.fold(&values[0], 1);
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.fold(&states[0], 1);
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.fold(&values[0], -1);
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        if self.values == 0 {
            return Ok(ScalarValue::Int64(None));
        }
        match i64::try_from(self.sum) {
            Ok(sum) => Ok(ScalarValue::Int64(Some(sum))),
            Err(_) => exec_err!("Overflow happened on: sum"),
        }
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.evaluate()?])
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }
}

/// The sums of many groups.
#[derive(Debug, Default)]
struct Totals {
    sums: Vec<i64>,
    /// Whether a group had a value.
    any: Vec<bool>,
}

impl Totals {
    fn fold(
        &mut self,
        column: &ArrayRef,
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.sums.resize(total, 0);
        self.any.resize(total, false);
        let numbers = column.as_primitive::<Int64Type>();
        for (i, group) in groups.iter().enumerate() {
            if numbers.is_null(i) || filter.is_some_and(|f| f.is_null(i) || !f.value(i)) {
                continue;
            }
            let Some(sum) = self.sums[*group].checked_add(numbers.value(i)) else {
                return exec_err!("Overflow happened on: sum");
            };
            self.sums[*group] = sum;
            self.any[*group] = true;
        }
        Ok(())
    }
}

impl GroupsAccumulator for Totals {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.fold(&values[0], groups, filter, total)
    }

    fn merge_batch(&mut self, values: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.fold(&values[0], groups, None, total)
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        let (sums, any) = (emit.take_needed(&mut self.sums), emit.take_needed(&mut self.any));
        let sums: Int64Array = sums.into_iter().zip(any).map(|(s, any)| any.then_some(s)).collect();
        Ok(Arc::new(sums))
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.evaluate(emit)?])
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        let numbers = values[0].as_primitive::<Int64Type>();
        let state = match filter {
            None => numbers.clone(),
            Some(filter) => {
                let kept = numbers.iter().zip(filter);
                kept.map(|(n, keep)| n.filter(|_| keep == Some(true))).collect()
            }
        };
        Ok(vec![Arc::new(state)])
    }

    fn size(&self) -> usize {
        self.sums.capacity() * size_of::<i64>() + self.any.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(numbers: &[Option<i64>]) -> ArrayRef {
        Arc::new(Int64Array::from(numbers.to_vec()))
    }

    #[test]
    fn a_sum_that_fits_in_the_end_is_right() {
        let mut total = Total::default();
        assert_eq!(total.evaluate().expect("null"), ScalarValue::Int64(None));
        total.update_batch(&[column(&[Some(i64::MAX), None, Some(5)])]).expect("adds");
        assert!(total.evaluate().is_err());
        total.retract_batch(&[column(&[Some(5), None])]).expect("takes away");
        assert_eq!(total.evaluate().expect("fits"), ScalarValue::Int64(Some(i64::MAX)));
        total.retract_batch(&[column(&[Some(i64::MAX)])]).expect("takes away");
        assert_eq!(total.evaluate().expect("null"), ScalarValue::Int64(None));
    }

    #[test]
    fn groups_have_sums_of_their_own() {
        let mut totals = Totals::default();
        let filter =
            BooleanArray::from(vec![Some(true), Some(true), None, Some(false), Some(true)]);
        let numbers = column(&[Some(1), Some(2), Some(4), Some(8), None]);
        totals
            .update_batch(std::slice::from_ref(&numbers), &[0, 2, 0, 0, 1], Some(&filter), 3)
            .expect("adds");
        let state = totals.convert_to_state(&[numbers], Some(&filter)).expect("a state");
        assert_eq!(&state[0], &column(&[Some(1), Some(2), None, None, None]));
        totals.merge_batch(&state, &[0, 0, 0, 0, 0], 3).expect("adds");
        assert_eq!(&totals.evaluate(EmitTo::First(1)).expect("sums"), &column(&[Some(4)]));
        assert_eq!(&totals.evaluate(EmitTo::All).expect("sums"), &column(&[None, Some(2)]));
        totals.update_batch(&[column(&[Some(i64::MIN)])], &[0], None, 1).expect("adds");
        assert!(totals.update_batch(&[column(&[Some(-1)])], &[0], None, 1).is_err());
    }
}
