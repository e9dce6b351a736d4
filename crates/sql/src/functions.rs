//! SQL functions beside those that the engine brings.
//!
//! One function is one file: its [`FunctionDoc`], from which the reference page is generated and
//! whose example is a test, and its code over columns. Add a file, and a line to the two lists.

mod decay;
mod email;
mod json;
mod pseudonym;
mod sha;

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, StringArray, StringBuilder};
use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::cast::as_string_array;
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use crate::types::type_name;

/// What the reference page says about a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FunctionDoc {
    /// Its name.
    pub name: &'static str,
    /// Its arguments and its result, with their types.
    pub signature: &'static str,
    /// What it gives, in plain sentences.
    pub doc: &'static str,
    /// A call.
    pub example: &'static str,
    /// What that call gives, as text.
    pub gives: &'static str,
}

/// The functions of this crate, in the order of the reference page.
pub static FUNCTIONS: &[FunctionDoc] = &[
    pseudonym::PSEUDONYMIZE.doc,
    email::NORMALIZE_EMAIL.doc,
    sha::SHA256.doc,
    json::JSON_GET.doc,
    decay::FORWARD_DECAY.doc,
    decay::DECAY_AT.doc,
];

/// The functions, for a session.
pub(crate) fn all() -> Vec<Arc<ScalarUDF>> {
    [
        &pseudonym::PSEUDONYMIZE,
        &email::NORMALIZE_EMAIL,
        &sha::SHA256,
        &json::JSON_GET,
        &decay::FORWARD_DECAY,
        &decay::DECAY_AT,
    ]
    .into_iter()
    .map(|f| Arc::new(ScalarUDF::from(Function::of(f))))
    .collect()
}

/// What a function takes in one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Text; numbers and the like are taken in their text form.
    Text,
    /// An instant; a day is its midnight.
    Instant,
    /// A number.
    Number,
}

impl Kind {
    fn data_type(self) -> DataType {
        match self {
            Self::Text => DataType::Utf8,
            Self::Instant => DataType::Timestamp(TimeUnit::Microsecond, None),
            Self::Number => DataType::Float64,
        }
    }

    fn takes(self, given: &DataType) -> bool {
        let text = matches!(given, DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8);
        given.is_null()
            || match self {
                Self::Text => text || given.is_integer() || *given == DataType::Boolean,
                Self::Instant => {
                    text || matches!(given, DataType::Timestamp(_, _) | DataType::Date32)
                }
                Self::Number => given.is_numeric(),
            }
    }
}

/// A function over columns.
#[derive(Debug)]
struct RowFunction {
    doc: FunctionDoc,
    takes: &'static [Kind],
    gives: Kind,
    /// All columns have the same length and the types of `takes`.
    call: fn(&[ArrayRef]) -> Result<ArrayRef>,
}

/// A [`RowFunction`] as the engine knows it.
#[derive(Debug)]
struct Function {
    of: &'static RowFunction,
    signature: Signature,
}

impl Function {
    fn of(of: &'static RowFunction) -> Self {
        Self { of, signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        self.of.doc.name == other.of.doc.name
    }
}

impl Eq for Function {}

impl Hash for Function {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.of.doc.name.hash(state);
    }
}

impl ScalarUDFImpl for Function {
    fn name(&self) -> &str {
        self.of.doc.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.of.gives.data_type())
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        let takes = self.of.takes;
        if given.len() != takes.len() || !takes.iter().zip(given).all(|(k, g)| k.takes(g)) {
            let given: Vec<_> = given.iter().map(|g| type_name(g)).collect();
            return plan_err!(
                "`{}` does not take ({}); it is `{}`",
                self.of.doc.name,
                given.join(", "),
                self.of.doc.signature
            );
        }
        Ok(takes.iter().map(|k| k.data_type()).collect())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let all_scalar = args.args.iter().all(|a| matches!(a, ColumnarValue::Scalar(_)));
        let rows = if all_scalar { 1 } else { args.number_rows };
        let columns =
            args.args.into_iter().map(|a| a.into_array(rows)).collect::<Result<Vec<_>>>()?;
        let result = (self.of.call)(&columns)?;
        if all_scalar {
            let scalar = datafusion::common::ScalarValue::try_from_array(&result, 0)?;
            return Ok(ColumnarValue::Scalar(scalar));
        }
        Ok(ColumnarValue::Array(result))
    }
}

/// Text from text, row by row; null from null.
fn map_text(column: &ArrayRef, mut map: impl FnMut(&str, &mut StringBuilder)) -> Result<ArrayRef> {
    let texts: &StringArray = as_string_array(column)?;
    let mut out = StringBuilder::with_capacity(texts.len(), texts.value_data().len());
    for text in texts {
        match text {
            Some(text) => map(text, &mut out),
            None => out.append_null(),
        }
    }
    Ok(Arc::new(out.finish()))
}
