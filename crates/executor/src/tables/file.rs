//! The format of a table: an Arrow IPC file.
//!
//! Arrow's own writer packs and writes a batch in one step. Here these are two, so that several
//! threads can pack; the bytes are the same.

use std::io::Write;

use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::convert::IpcSchemaEncoder;
use arrow::ipc::writer::{
    DictionaryTracker, EncodedData, IpcDataGenerator, IpcWriteContext, IpcWriteOptions,
    write_message,
};
use arrow::ipc::{Block, CompressionType, FooterBuilder, MetadataVersion};
use arrow::record_batch::RecordBatch;
use flatbuffers::FlatBufferBuilder;

use super::spool::Spool;

const MAGIC: &[u8; 6] = b"ARROW1";
/// Everything in the file starts at a multiple of this.
const ALIGNMENT: usize = 64;
/// What ends the batches.
const END_OF_STREAM: [u8; 8] = [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];

/// A batch as the file will hold it: dictionaries it needs, then the batch.
pub(super) type Packed = (Vec<EncodedData>, EncodedData);

/// Packs batches. Each knows the dictionaries that it packed; so a table with dictionaries must
/// have one only.
pub(super) struct Packer {
    options: IpcWriteOptions,
    dictionaries: DictionaryTracker,
    context: IpcWriteContext,
}

impl Packer {
    /// A packer of batches of this schema.
    pub(super) fn new(schema: &SchemaRef) -> Result<Self, ArrowError> {
        let options = options()?;
        let mut dictionaries = DictionaryTracker::new(true);
        // Numbers the dictionaries.
        IpcDataGenerator::default().schema_to_bytes_with_dictionary_tracker(
            schema,
            &mut dictionaries,
            &options,
        );
        Ok(Self { options, dictionaries, context: IpcWriteContext::default() })
    }

    /// Packs a batch.
    pub(super) fn pack(&mut self, batch: &RecordBatch) -> Result<Packed, ArrowError> {
        IpcDataGenerator::default().encode(
            batch,
            &mut self.dictionaries,
            &self.options,
            &mut self.context,
        )
    }
}

/// A file that grows.
pub(super) struct TableFile {
    spool: Spool,
    schema: SchemaRef,
    options: IpcWriteOptions,
    dictionaries: Vec<Block>,
    batches: Vec<Block>,
    /// Where the next block starts.
    end: usize,
}

impl TableFile {
    /// Starts a file.
    pub(super) fn create(mut spool: Spool, schema: SchemaRef) -> Result<Self, ArrowError> {
        let options = options()?;
        let mut start = [0; ALIGNMENT];
        start[..MAGIC.len()].copy_from_slice(MAGIC);
        spool.write_all(&start)?;
        let message = IpcDataGenerator::default().schema_to_bytes_with_dictionary_tracker(
            &schema,
            &mut DictionaryTracker::new(true),
            &options,
        );
        let (header, body) = write_message(&mut spool, message, &options)?;
        let end = ALIGNMENT + header + body;
        Ok(Self { spool, schema, options, dictionaries: Vec::new(), batches: Vec::new(), end })
    }

    pub(super) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Whether batches must be packed one after the other.
    pub(super) fn has_dictionaries(&self) -> bool {
        let fields = self.schema.flattened_fields();
        fields.iter().any(|field| matches!(field.data_type(), DataType::Dictionary(_, _)))
    }

    /// Bytes so far.
    pub(super) fn bytes(&self) -> usize {
        self.end
    }

    /// Appends a packed batch.
    pub(super) fn append(&mut self, (dictionaries, batch): Packed) -> Result<(), ArrowError> {
        for dictionary in dictionaries {
            let block = self.write(dictionary)?;
            self.dictionaries.push(block);
        }
        let block = self.write(batch)?;
        self.batches.push(block);
        Ok(())
    }

    fn write(&mut self, message: EncodedData) -> Result<Block, ArrowError> {
        let (header, body) = write_message(&mut self.spool, message, &self.options)?;
        let block = Block::new(self.end as i64, header as i32, body as i64);
        self.end += header + body;
        Ok(block)
    }

    /// Ends the file with its footer.
    pub(super) fn finish(mut self) -> Result<Spool, ArrowError> {
        self.spool.write_all(&END_OF_STREAM)?;
        let mut builder = FlatBufferBuilder::new();
        let dictionaries = builder.create_vector(&self.dictionaries);
        let batches = builder.create_vector(&self.batches);
        let schema = IpcSchemaEncoder::new()
            .with_dictionary_tracker(&mut DictionaryTracker::new(true))
            .schema_to_fb_offset(&mut builder, &self.schema);
        let mut footer = FooterBuilder::new(&mut builder);
        footer.add_version(MetadataVersion::V5);
        footer.add_schema(schema);
        footer.add_dictionaries(dictionaries);
        footer.add_recordBatches(batches);
        let footer = footer.finish();
        builder.finish(footer, None);
        let footer = builder.finished_data();
        self.spool.write_all(footer)?;
        self.spool.write_all(&(footer.len() as i32).to_le_bytes())?;
        self.spool.write_all(MAGIC)?;
        Ok(self.spool)
    }
}

fn options() -> Result<IpcWriteOptions, ArrowError> {
    IpcWriteOptions::default().try_with_compression(Some(CompressionType::LZ4_FRAME))
}
