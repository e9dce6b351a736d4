//! The source: pages into batches.

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use tidemill_connector::{ConnectorError, Source, SourceContext};

use super::HttpSourceConfig;
use super::answer::fetch;
use super::page::{Builder, Findings, Layout};
use super::paging::Paging;
use super::request::Request;
use super::spool::{Spool, SpoolReader};
use crate::jsonl::table::written;

/// Reads page after page.
pub(super) struct HttpSource {
    pages: Pages,
    layout: Layout,
    builder: Builder,
}

/// Where pages come from.
enum Pages {
    /// From the other side, one at a time.
    Live(Box<Live>),
    /// From the spool, after all were fetched to find the types of columns; the number of the next
    /// one goes with it.
    Spooled(SpoolReader, u64),
}

struct Live {
    request: Request,
    paging: Paging,
    max_bytes: u64,
}

impl HttpSource {
    /// Settles the columns and stands before the first row. Without `columns` that takes all
    /// pages; a retryable error then means to open the source again, from the first page on.
    pub(super) async fn open(
        config: HttpSourceConfig,
        cx: &SourceContext,
    ) -> Result<Self, ConnectorError> {
        let request = Request::new(&config, cx)?;
        let layout = Layout::new(&config, request.name())?;
        let paging = Paging::new(&config)?;
        let mut live = Live { request, paging, max_bytes: config.max_bytes };
        let (pages, fields) = match &config.columns {
            Some(columns) => (Pages::Live(Box::new(live)), written(columns)),
            None => {
                let mut spool = Spool::default();
                let mut findings = Findings::new(&layout);
                while let Some(body) = live.fetch(&layout).await? {
                    let end = findings.see(&layout, &body, live.paging.number())?;
                    spool.push(&body)?;
                    live.paging.had(&body, end)?;
                }
                (Pages::Spooled(spool.rewind()?, 1), findings.finish(&layout)?)
            }
        };
        let builder = Builder::new(fields, &layout, cx.batch_rows)?;
        Ok(Self { pages, layout, builder })
    }

    /// Appends the rows of the next page; `false` when there is none.
    async fn add_page(&mut self) -> Result<bool, ConnectorError> {
        match &mut self.pages {
            Pages::Live(live) => {
                let Some(body) = live.fetch(&self.layout).await? else { return Ok(false) };
                let end = self.builder.push(&self.layout, &body, live.paging.number())?;
                live.paging.had(&body, end)?;
            }
            Pages::Spooled(spool, number) => {
                let Some(body) = spool.next()? else { return Ok(false) };
                self.builder.push(&self.layout, &body, *number)?;
                *number += 1;
            }
        }
        Ok(true)
    }
}

impl Live {
    /// The body of the page to ask for; the same page again until it is had.
    async fn fetch(&self, layout: &Layout) -> Result<Option<String>, ConnectorError> {
        let Some(params) = self.paging.params()? else { return Ok(None) };
        fetch(&self.request, &params, layout.format, self.max_bytes).await.map(Some)
    }
}

#[async_trait]
impl Source for HttpSource {
    fn schema(&self) -> SchemaRef {
        self.builder.schema().clone()
    }

    async fn next_batch(&mut self) -> Result<Option<RecordBatch>, ConnectorError> {
        loop {
            if let Some(batch) = self.builder.next_full() {
                return Ok(Some(batch));
            }
            if !self.add_page().await? {
                return self.builder.rest();
            }
        }
    }
}
