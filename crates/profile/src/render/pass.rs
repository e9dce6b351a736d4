//! One pass over a table: a text for each template and row.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringBuilder};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use tidemill_connector::{ConnectorError, TableWriter, TransformContext};

use super::config::RenderConfig;
use super::context::Columns;
use super::template::Template;
use crate::cells::{column, distinct_names, row_place};

/// Texts of a batch are handed on when they have so many bytes.
const PART_BYTES: usize = 8 * 1024 * 1024;

pub(super) struct Pass {
    input: SchemaRef,
    templates: Vec<Template>,
    /// The columns that templates read.
    reads: Vec<usize>,
    json: Vec<usize>,
    id: Option<usize>,
    keep: Vec<usize>,
    output: SchemaRef,
    writer: Box<dyn TableWriter>,
    rows: u64,
}

impl Pass {
    pub(super) fn new(
        config: &RenderConfig,
        input: &SchemaRef,
        cx: &TransformContext,
    ) -> Result<Self, ConnectorError> {
        let templates = config
            .columns
            .iter()
            .map(|(name, source)| Template::compile(name, source, config.nulls, &cx.folder))
            .collect::<Result<Vec<_>, _>>()?;
        let positions = |key: &str, names: &[String]| {
            names.iter().map(|name| column(key, name, input)).collect::<Result<Vec<_>, _>>()
        };
        let keep = match &config.keep {
            None => (0..input.fields().len()).collect(),
            Some(names) => positions("keep", names)?,
        };
        let mut fields: Vec<Arc<Field>> =
            keep.iter().map(|at| input.fields()[*at].clone()).collect();
        let text = |name: &String| Arc::new(Field::new(name, DataType::Utf8, true));
        fields.extend(config.columns.keys().map(text));
        distinct_names(
            fields.iter().map(|field| field.name().as_str()),
            "name the columns of the input to `keep`, or give the text another name",
        )?;
        let output = Arc::new(Schema::new(fields));
        Ok(Self {
            reads: reads(&templates, input),
            templates,
            json: positions("json", &config.json)?,
            id: config.id.as_deref().map(|name| column("id", name, input)).transpose()?,
            input: input.clone(),
            keep,
            writer: cx.outputs.create("", output.clone())?,
            output,
            rows: 0,
        })
    }

    pub(super) fn take(&mut self, batch: &RecordBatch) -> Result<(), ConnectorError> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let values = Columns::new(batch, &self.reads, &self.json).map_err(|unreadable| {
            let row = self.place(batch, unreadable.error.row);
            ConnectorError::data(unreadable.error.what)
                .at(format!("{row}, column {}", unreadable.column))
        })?;
        let input = self.input.clone();
        let names: Vec<&str> = input.fields().iter().map(|f| f.name().as_str()).collect();
        let mut texts = self.builders();
        let (mut start, mut bytes) = (0, 0);
        for row in 0..batch.num_rows() {
            for (template, texts) in self.templates.iter().zip(&mut texts) {
                let text = template
                    .render(values.row(row), &names)
                    .map_err(|error| error.within(&self.place(batch, row)))?;
                bytes += text.len();
                texts.append_value(text);
            }
            if bytes > PART_BYTES || row + 1 == batch.num_rows() {
                let full = std::mem::replace(&mut texts, self.builders());
                let part = batch.slice(start, row + 1 - start);
                self.write(&part, full)?;
                (start, bytes) = (row + 1, 0);
            }
        }
        self.rows += batch.num_rows() as u64;
        Ok(())
    }

    fn builders(&self) -> Vec<StringBuilder> {
        self.templates.iter().map(|_| StringBuilder::new()).collect()
    }

    fn write(
        &mut self,
        part: &RecordBatch,
        texts: Vec<StringBuilder>,
    ) -> Result<(), ConnectorError> {
        let kept = self.keep.iter().map(|at| part.column(*at).clone());
        let texts = texts.into_iter().map(|mut texts| Arc::new(texts.finish()) as ArrayRef);
        let columns = kept.chain(texts).collect();
        self.writer.write(&RecordBatch::try_new(self.output.clone(), columns)?)
    }

    fn place(&self, batch: &RecordBatch, row: usize) -> String {
        row_place(batch, self.id, row, self.rows)
    }

    pub(super) fn finish(self) -> Result<(), ConnectorError> {
        self.writer.finish()
    }
}

/// The columns that templates may read.
fn reads(templates: &[Template], input: &SchemaRef) -> Vec<usize> {
    let mut names = Vec::new();
    for template in templates {
        match template.reads() {
            Some(more) => names.extend(more),
            None => return (0..input.fields().len()).collect(),
        }
    }
    (0..input.fields().len()).filter(|at| names.contains(input.field(*at).name())).collect()
}
