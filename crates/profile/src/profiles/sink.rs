//! The sink.

use std::sync::Arc;

use arrow::array::{Array, StringArray};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use tidemill_connector::{ConnectorError, Sink, SinkContext, Written};

use super::config::{Mode, ProfilesConfig};
use super::document::Shape;
use crate::cells::{id_kind, ids, json_column, row_place, texts};
use crate::store::{ID_BYTES_MAX, Load, Object, ProfileStore, ProfileUpdate};

/// Writes a profile a row.
pub(super) struct ProfilesSink {
    load: Load,
    schema: SchemaRef,
    id: usize,
    document: Shape,
    meta: Option<Shape>,
    owned: Vec<String>,
    /// Types and columns of identities; `None` when the load has none.
    identities: Option<Vec<(String, usize)>>,
    json: Vec<usize>,
    replace: bool,
    rows: u64,
}

impl ProfilesSink {
    pub(super) fn create(
        config: &ProfilesConfig,
        cx: &SinkContext,
        store: Arc<ProfileStore>,
    ) -> Result<Self, ConnectorError> {
        let schema = cx.schema.clone();
        let id = cx.column("id", &config.id)?;
        id_kind("id", schema.field(id))?;
        let identities = config.identities.iter().map(|identity| {
            let at = cx.column("identities", &identity.column)?;
            id_kind("identities", schema.field(at))?;
            Ok::<_, ConnectorError>((identity.kind.clone(), at))
        });
        let identities = identities.collect::<Result<Vec<_>, _>>()?;
        let document = Shape::document(config, &schema)?;
        let meta = Shape::meta(config, &schema)?;
        let json = config.json.iter().map(|name| cx.column("json", name));
        Ok(Self {
            load: Load::new(store),
            id,
            owned: std::iter::once(&config.id).chain(document.keys()).cloned().collect(),
            document,
            meta: (!config.meta.is_empty()).then_some(meta),
            identities: (!identities.is_empty()).then_some(identities),
            json: json.collect::<Result<_, _>>()?,
            replace: config.mode == Mode::Replace,
            schema,
            rows: 0,
        })
    }

    /// The JSON texts of the columns that profiles hold, by the position of the column.
    fn cells(&self, batch: &RecordBatch) -> Result<Vec<Vec<Option<String>>>, ConnectorError> {
        let mut wanted = self.document.columns();
        wanted.extend(self.meta.iter().flat_map(Shape::columns));
        let mut cells = vec![Vec::new(); batch.num_columns()];
        for at in wanted {
            if !cells[at].is_empty() {
                continue;
            }
            let column = batch.column(at);
            let read = if self.json.contains(&at) { json_column(column) } else { texts(column) };
            cells[at] = read.map_err(|error| {
                let row = row_place(batch, Some(self.id), error.row, self.rows);
                let name = self.schema.field(at).name();
                ConnectorError::data(error.what).at(format!("{row}, column {name}"))
            })?;
        }
        Ok(cells)
    }

    /// The id of a row.
    fn id<'a>(&self, ids: &'a StringArray, row: usize) -> Result<&'a str, ConnectorError> {
        let wrong = |what: String| {
            let number = self.rows + row as u64 + 1;
            let name = self.schema.field(self.id).name();
            ConnectorError::data(what).at(format!("row {number}, column {name}"))
        };
        match ids.is_valid(row).then(|| ids.value(row)) {
            None | Some("") => Err(wrong("the row has no id".to_owned())
                .help("leave such rows out before they are loaded")),
            Some(id) if id.len() > ID_BYTES_MAX => {
                Err(wrong(format!("the id has {} bytes, at most {ID_BYTES_MAX}", id.len())))
            }
            Some(id) => Ok(id),
        }
    }
}

/// What the profiles of a batch are made of.
struct Rows {
    ids: StringArray,
    /// Types and values of identities; `None` when the load has none.
    identities: Option<Vec<(String, StringArray)>>,
    /// JSON texts, by the position of the column.
    cells: Vec<Vec<Option<String>>>,
}

impl ProfilesSink {
    fn rows(&self, batch: &RecordBatch) -> Result<Rows, ConnectorError> {
        let of =
            |key: &str, at: usize| ids(key, self.schema.field(at), batch.column(at), self.rows + 1);
        let identities = self.identities.as_ref().map(|columns| {
            let column = |(kind, at): &(String, usize)| Ok((kind.clone(), of("identities", *at)?));
            columns.iter().map(column).collect::<Result<Vec<_>, ConnectorError>>()
        });
        Ok(Rows {
            ids: of("id", self.id)?,
            identities: identities.transpose()?,
            cells: self.cells(batch)?,
        })
    }

    fn update(&self, rows: &Rows, row: usize) -> Result<ProfileUpdate, ConnectorError> {
        let id = self.id(&rows.ids, row)?;
        let cell = |at: usize| rows.cells[at][row].as_deref();
        let mut fields = Object::default();
        fields.insert_text(&self.owned[0], id);
        for (key, json) in self.document.build(&cell).iter() {
            fields.insert(key, json);
        }
        let identity = |(kind, values): &(String, StringArray)| {
            let value = values.is_valid(row).then(|| values.value(row)).filter(|v| !v.is_empty());
            value.map(|value| format!("{kind}:{value}"))
        };
        let identities = rows.identities.as_ref();
        Ok(ProfileUpdate {
            id: id.to_owned(),
            fields,
            owned: self.owned.clone(),
            identities: identities.map(|all| all.iter().filter_map(identity).collect()),
            meta: self.meta.as_ref().map(|meta| meta.build(&cell)),
            replace: self.replace,
        })
    }
}

#[async_trait]
impl Sink for ProfilesSink {
    async fn write(&mut self, batch: &RecordBatch) -> Result<(), ConnectorError> {
        let rows = self.rows(batch)?;
        for row in 0..batch.num_rows() {
            let update = self.update(&rows, row)?;
            let place = || row_place(batch, Some(self.id), row, self.rows);
            let is_first =
                self.load.add(update).map_err(|e| ConnectorError::from(e).at(place()))?;
            if !is_first {
                let name = self.schema.field(self.id).name();
                return Err(ConnectorError::data("two rows have the same id")
                    .at(place())
                    .help(format!("make one row of them, for example with `group by {name}`")));
            }
        }
        self.rows += batch.num_rows() as u64;
        Ok(())
    }

    async fn finish(self: Box<Self>) -> Result<Written, ConnectorError> {
        let applied = self.load.finish(self.replace)?;
        Ok(Written { rows: applied.changed + applied.unchanged, bytes: applied.bytes })
    }
}
