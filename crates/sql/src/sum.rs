//! `sum` of whole numbers, which says when the sum does not fit.
//!
//! The engine's own lets it wrap around. Sums of other types are left to it.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, Int64Array};
use arrow::datatypes::{
    DECIMAL128_MAX_PRECISION, DataType, Decimal128Type, Field, FieldRef, Int64Type,
};
use datafusion::common::{Result, ScalarValue, exec_datafusion_err};
use datafusion::functions_aggregate::sum::sum_udaf;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
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

/// The type of a sum on its way: it may be too large where the sum in the end is not.
const STATE_TYPE: DataType = DataType::Decimal128(DECIMAL128_MAX_PRECISION, 0);

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
        if args.is_distinct || args.return_type() != &DataType::Int64 {
            return self.inner.state_fields(args);
        }
        let name = format_state_name(args.name, "sum");
        Ok(vec![Arc::new(Field::new(name, STATE_TYPE, true))])
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

/// The sum as the number that it must fit.
fn fitting(sum: i128) -> Result<i64> {
    i64::try_from(sum).map_err(|_| exec_datafusion_err!("Overflow happened on: sum"))
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

    fn sum(&self) -> Option<i128> {
        (self.values > 0).then_some(self.sum)
    }
}

impl Accumulator for Total {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.fold(&values[0], 1);
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let sums = states[0].as_primitive::<Decimal128Type>();
        self.sum += sums.iter().flatten().sum::<i128>();
        self.values += (sums.len() - sums.null_count()) as u64;
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
        Ok(ScalarValue::Int64(self.sum().map(fitting).transpose()?))
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![ScalarValue::Decimal128(self.sum(), DECIMAL128_MAX_PRECISION, 0)])
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }
}

/// The sums of many groups.
#[derive(Debug, Default)]
struct Totals {
    sums: Vec<i128>,
    /// Whether a group had a value.
    any: Vec<bool>,
}

impl Totals {
    fn fold(
        &mut self,
        numbers: impl Iterator<Item = Option<i128>>,
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) {
        self.sums.resize(total, 0);
        self.any.resize(total, false);
        for (i, (number, group)) in numbers.zip(groups).enumerate() {
            if let Some(number) = number
                && filter.is_none_or(|f| f.is_valid(i) && f.value(i))
            {
                self.sums[*group] += number;
                self.any[*group] = true;
            }
        }
    }

    fn take(&mut self, emit: EmitTo) -> impl Iterator<Item = Option<i128>> {
        let (sums, any) = (emit.take_needed(&mut self.sums), emit.take_needed(&mut self.any));
        sums.into_iter().zip(any).map(|(sum, any)| any.then_some(sum))
    }
}

/// Sums on their way, as a column.
fn states(sums: impl Iterator<Item = Option<i128>>) -> ArrayRef {
    Arc::new(sums.collect::<Decimal128Array>().with_data_type(STATE_TYPE))
}

impl GroupsAccumulator for Totals {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        let numbers = values[0].as_primitive::<Int64Type>();
        self.fold(numbers.iter().map(|n| n.map(i128::from)), groups, filter, total);
        Ok(())
    }

    fn merge_batch(&mut self, values: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.fold(values[0].as_primitive::<Decimal128Type>().iter(), groups, None, total);
        Ok(())
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        let sums: Int64Array =
            self.take(emit).map(|sum| sum.map(fitting).transpose()).collect::<Result<_>>()?;
        Ok(Arc::new(sums))
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(vec![states(self.take(emit))])
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        let numbers = values[0].as_primitive::<Int64Type>().iter().map(|n| n.map(i128::from));
        let kept = |i: usize| filter.is_none_or(|f| f.is_valid(i) && f.value(i));
        Ok(vec![states(numbers.enumerate().map(|(i, number)| number.filter(|_| kept(i))))])
    }

    fn size(&self) -> usize {
        self.sums.capacity() * size_of::<i128>() + self.any.capacity()
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
        let state: Vec<_> = (total.state().expect("a state").iter())
            .map(|value| value.to_array().expect("a column"))
            .collect();
        let mut merged = Total::default();
        merged.merge_batch(&state).expect("adds");
        merged.update_batch(&[column(&[Some(-5)])]).expect("adds");
        assert_eq!(merged.evaluate().expect("fits"), ScalarValue::Int64(Some(i64::MAX)));
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
        assert_eq!(&state[0], &states([Some(1), Some(2), None, None, None].into_iter()));
        totals.merge_batch(&state, &[0, 0, 0, 0, 0], 3).expect("adds");
        assert_eq!(&totals.evaluate(EmitTo::First(1)).expect("sums"), &column(&[Some(4)]));
        assert_eq!(&totals.evaluate(EmitTo::All).expect("sums"), &column(&[None, Some(2)]));
        totals.update_batch(&[column(&[Some(i64::MIN)])], &[0], None, 1).expect("adds");
        totals.update_batch(&[column(&[Some(-1)])], &[0], None, 1).expect("adds");
        let state = totals.state(EmitTo::All).expect("a state");
        totals.merge_batch(&state, &[0], 1).expect("adds");
        totals.update_batch(&[column(&[Some(1)])], &[0], None, 1).expect("adds");
        assert_eq!(&totals.evaluate(EmitTo::All).expect("sums"), &column(&[Some(i64::MIN)]));
        totals.merge_batch(&state, &[0], 1).expect("adds");
        assert!(totals.evaluate(EmitTo::All).is_err());
    }
}
