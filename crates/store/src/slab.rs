//! Content-addressed values in files that only grow: small tables, and the texts of DAG versions.
//!
//! Frame: `magic [4] | len u32 le | crc32c u32 le | payload`; the payload is the length of the key
//! as one byte, the key, a checksum of the length and the key, and the value. Every file starts
//! with a header. The index of keys is in memory, built from frame headers and keys alone when the
//! slab is opened; the whole frame is checked when a value is read.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::disk::{self, Disk, Tail};
use crate::store::StoreError;

const HEADER: &[u8; 16] = b"TIDESLAB\x01\0\0\0\0\0\0\0";
const MAGIC: &[u8; 4] = b"\xf5slb";
const FRAME_HEADER: usize = 12;
/// Keys are hashes in hex.
const KEY_BYTES_MAX: usize = 255;

/// How a slab is opened.
#[derive(Debug, Clone)]
pub(crate) struct SlabOptions {
    /// A new file is begun when the last one is this large, in bytes.
    pub(crate) file_bytes: u64,
    /// No value is larger, in bytes.
    pub(crate) value_bytes_max: usize,
    /// Where files are made.
    pub(crate) disk: Arc<dyn Disk>,
}

/// A folder of values. One thread appends, any thread reads.
#[derive(Debug)]
pub(crate) struct Slab {
    dir: PathBuf,
    options: SlabOptions,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    index: HashMap<String, Place>,
    tail: Option<(u64, Tail)>,
    files: Vec<u64>,
    /// Counts appends, so that a sweep sees what was used after it had looked.
    clock: u64,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    file: u64,
    offset: u64,
    len: u32,
    used: u64,
}

impl Slab {
    /// Opens a slab, or makes an empty one. A torn end is cut; damaged frames before the end are
    /// passed over, and reading their keys finds nothing. The notes say so.
    pub(crate) fn open(
        dir: &Path,
        options: SlabOptions,
    ) -> Result<(Self, Vec<String>), StoreError> {
        disk::make_dir(dir)?;
        let mut state = State::default();
        let mut notes = Vec::new();
        let files = disk::numbered(dir, "slab")?;
        let newest = files.last().map(|(number, _)| *number);
        for (number, path) in &files {
            let is_last = Some(*number) == newest;
            let found = survey(path, is_last, is_last)?;
            if is_last && !found.begun {
                // A crash cut the header: nothing was ever in it.
                std::fs::remove_file(path).map_err(|e| disk::broken(path, &e))?;
                continue;
            }
            state.files.push(*number);
            for (key, offset, len) in found.frames {
                state.index.insert(key, Place { file: *number, offset, len, used: 0 });
            }
            notes.extend(found.damage.iter().map(|at| {
                format!("`{}` is damaged at byte {at}; what lay there is gone", path.display())
            }));
            if is_last {
                if found.end < found.file_bytes {
                    cut(path, found.end)?;
                    notes.push(format!(
                        "`{}` ended within a value, as after a power cut: {} bytes were cut",
                        path.display(),
                        found.file_bytes - found.end
                    ));
                }
                state.tail = Some((*number, Tail::open(&options.disk, path, found.end)?));
            }
        }
        Ok((Self { dir: dir.to_owned(), options, state: Mutex::new(state) }, notes))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, file: u64) -> PathBuf {
        path_of(&self.dir, file)
    }

    /// Makes values durable with one write and one sync; keys that are here already cost nothing.
    pub(crate) fn append<'a>(
        &self,
        values: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    ) -> Result<(), StoreError> {
        let mut state = self.lock();
        state.clock += 1;
        let used = state.clock;
        let mut buffer = Vec::new();
        let mut fresh: Vec<(String, u64, u32)> = Vec::new();
        let mut seen = HashSet::new();
        for (key, value) in values {
            if let Some(place) = state.index.get_mut(key) {
                place.used = used;
            } else if seen.insert(key) {
                self.check(key, value)?;
                let at = buffer.len() as u64;
                encode(key, value, &mut buffer);
                fresh.push((key.to_owned(), at, (buffer.len() as u64 - at) as u32));
            }
        }
        if fresh.is_empty() {
            return Ok(());
        }
        let file = self.room(&mut state)?;
        let Some((_, tail)) = state.tail.as_mut() else { return Ok(()) };
        let start = tail.len();
        tail.append(&buffer)?;
        for (key, at, len) in fresh {
            state.index.insert(key, Place { file, offset: start + at, len, used });
        }
        Ok(())
    }

    fn check(&self, key: &str, value: &[u8]) -> Result<(), StoreError> {
        let limit = self.options.value_bytes_max;
        if key.len() > KEY_BYTES_MAX || value.len() > limit {
            return Err(StoreError::TooLarge {
                what: format!("`{}`", key.get(..KEY_BYTES_MAX.min(80)).unwrap_or(key)),
                bytes: value.len() as u64,
                limit: limit as u64,
            });
        }
        Ok(())
    }

    /// The file that the next values go to.
    fn room(&self, state: &mut State) -> Result<u64, StoreError> {
        match &state.tail {
            Some((number, tail)) if tail.len() < self.options.file_bytes => Ok(*number),
            _ => {
                let number = state.files.last().map_or(1, |last| last + 1);
                let tail = Tail::create(&self.options.disk, &self.path(number), HEADER)?;
                state.tail = Some((number, tail));
                state.files.push(number);
                Ok(number)
            }
        }
    }

    /// A value.
    pub(crate) fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        let Some(place) = self.lock().index.get(key).copied() else { return Ok(None) };
        let path = self.path(place.file);
        let mut frame = vec![0; place.len as usize];
        let read = File::open(&path).and_then(|f| f.read_exact_at(&mut frame, place.offset));
        read.map_err(|e| disk::damaged(&path, e.to_string()))?;
        match decode(&frame) {
            Some((found, value)) if found == key.as_bytes() => {
                let start = frame.len() - value.len();
                Ok(Some(Bytes::from(frame).slice(start..)))
            }
            _ => Err(disk::damaged(
                &path,
                format!("the value at byte {} is not whole", place.offset),
            )),
        }
    }

    /// Whether a key is here.
    pub(crate) fn contains(&self, key: &str) -> bool {
        self.lock().index.contains_key(key)
    }

    /// Every key.
    #[cfg(test)]
    fn keys(&self) -> Vec<String> {
        self.lock().index.keys().cloned().collect()
    }

    /// The files and how far they are durable, in bytes.
    pub(crate) fn files(&self) -> Result<Vec<(PathBuf, u64)>, StoreError> {
        let state = self.lock();
        (state.files.iter())
            .map(|number| {
                let path = self.path(*number);
                let len = match &state.tail {
                    Some((tail_number, tail)) if tail_number == number => tail.len(),
                    _ => std::fs::metadata(&path).map_err(|e| disk::broken(&path, &e))?.len(),
                };
                Ok((path, len))
            })
            .collect()
    }

    /// A mark before somebody looks which keys are still needed.
    pub(crate) fn mark(&self) -> u64 {
        self.lock().clock
    }

    /// Removes files in which no key is needed or was used since `mark`; the last file stays.
    /// Returns how many bytes that gave back.
    pub(crate) fn sweep(
        &self,
        mark: u64,
        needed: impl Fn(&str) -> bool,
    ) -> Result<u64, StoreError> {
        let mut state = self.lock();
        let mut keep: HashSet<u64> = state.tail.iter().map(|(number, _)| *number).collect();
        let used = state.index.iter().filter(|(key, at)| at.used > mark || needed(key));
        keep.extend(used.map(|(_, at)| at.file));
        let gone: Vec<u64> = state.files.iter().copied().filter(|f| !keep.contains(f)).collect();
        let mut bytes = 0;
        for number in gone {
            let path = self.path(number);
            state.index.retain(|_, at| at.file != number);
            state.files.retain(|file| *file != number);
            bytes += std::fs::metadata(&path).map_or(0, |meta| meta.len());
            std::fs::remove_file(&path).map_err(|e| disk::broken(&path, &e))?;
        }
        Ok(bytes)
    }
}

/// The file of a slab with this number.
pub(crate) fn path_of(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number}.slab"))
}

fn encode(key: &str, value: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.extend(MAGIC);
    out.extend([0; 8]);
    out.push(key.len() as u8);
    out.extend(key.as_bytes());
    let len = ((1 + key.len() + 4 + value.len()) as u32).to_le_bytes();
    out.extend(key_sum(len, key.as_bytes()).to_le_bytes());
    out.extend(value);
    let payload = &out[start + FRAME_HEADER..];
    let sum = crc32c::crc32c(payload).to_le_bytes();
    out[start + 4..start + 8].copy_from_slice(&len);
    out[start + 8..start + FRAME_HEADER].copy_from_slice(&sum);
}

/// The key and the value of a frame that fills `frame`, if it matches its checksum.
fn decode(frame: &[u8]) -> Option<(&[u8], &[u8])> {
    let (head, payload) = frame.split_at_checked(FRAME_HEADER)?;
    let (len, sum) = header_of(head)?;
    if len != payload.len() || crc32c::crc32c(payload) != sum {
        return None;
    }
    let key = key_of(head, payload)?;
    Some((key, payload.get(1 + key.len() + 4..)?))
}

/// The key at the start of a payload, if it matches its checksum.
fn key_of<'a>(head: &[u8], payload: &'a [u8]) -> Option<&'a [u8]> {
    let (key_len, rest) = payload.split_first()?;
    let (key, rest) = rest.split_at_checked(usize::from(*key_len))?;
    let sum = u32::from_le_bytes(rest.get(..4)?.try_into().ok()?);
    (key_sum(head.get(4..8)?.try_into().ok()?, key) == sum).then_some(key)
}

fn key_sum(len: [u8; 4], key: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&len), key)
}

/// The payload's length and checksum.
fn header_of(head: &[u8]) -> Option<(usize, u32)> {
    let (magic, rest) = head.split_at_checked(4)?;
    let len = u32::from_le_bytes(rest.get(..4)?.try_into().ok()?);
    let sum = u32::from_le_bytes(rest.get(4..8)?.try_into().ok()?);
    (magic == MAGIC && len > 0).then_some((len as usize, sum))
}

/// What lies in a file.
pub(crate) struct Survey {
    /// Key, offset and length of every frame.
    pub(crate) frames: Vec<(String, u64, u32)>,
    /// Where bytes lie that are no frame, though frames follow.
    pub(crate) damage: Vec<u64>,
    /// The end of the last frame.
    pub(crate) end: u64,
    /// The file's length.
    pub(crate) file_bytes: u64,
    /// Whether its header is whole.
    pub(crate) begun: bool,
}

/// Looks through a file. With `thorough`, every checksum is computed; else only headers are read,
/// and only a header that is wrong makes the look thorough. In the last file, bad bytes at the end
/// are torn; elsewhere they are damage.
pub(crate) fn survey(path: &Path, is_last: bool, thorough: bool) -> Result<Survey, StoreError> {
    let io = |e: io::Error| disk::broken(path, &e);
    let file = File::open(path).map_err(io)?;
    let file_bytes = file.metadata().map_err(io)?.len();
    if !thorough && let Some(found) = skim(&file, file_bytes).map_err(io)? {
        return Ok(found);
    }
    let bytes = std::fs::read(path).map_err(io)?;
    let begun = bytes.starts_with(HEADER);
    let mut found = Survey { frames: Vec::new(), damage: Vec::new(), end: 0, file_bytes, begun };
    if !begun && bytes.len() > HEADER.len() {
        // The values are worth more than the header: they are looked for all the same.
        found.begun = true;
        found.damage.push(0);
    }
    let mut at = HEADER.len();
    let mut bad = None;
    found.end = at.min(bytes.len()) as u64;
    while at < bytes.len() {
        let frame = header_of(&bytes[at..])
            .and_then(|(len, _)| bytes.get(at..at.checked_add(FRAME_HEADER + len)?));
        let decoded = frame.and_then(|frame| Some((decode(frame)?.0, frame.len())));
        match decoded.and_then(|(key, len)| Some((std::str::from_utf8(key).ok()?, len))) {
            Some((key, len)) => {
                found.damage.extend(bad.take());
                found.frames.push((key.to_owned(), at as u64, len as u32));
                at += len;
                found.end = at as u64;
            }
            None => {
                bad.get_or_insert(at as u64);
                let next = memchr_magic(&bytes[at + 1..]);
                at = next.map_or(bytes.len(), |next| at + 1 + next);
            }
        }
    }
    found.damage.extend(bad.filter(|_| !is_last));
    Ok(found)
}

fn memchr_magic(bytes: &[u8]) -> Option<usize> {
    bytes.windows(MAGIC.len()).position(|window| window == MAGIC)
}

/// Reads the headers alone; `None` when one of them is wrong.
fn skim(file: &File, file_bytes: u64) -> io::Result<Option<Survey>> {
    let mut found = Survey {
        frames: Vec::new(),
        damage: Vec::new(),
        end: HEADER.len() as u64,
        file_bytes,
        begun: true,
    };
    let mut head = [0; HEADER.len()];
    if file_bytes < HEADER.len() as u64 {
        return Ok(None);
    }
    file.read_exact_at(&mut head, 0)?;
    if &head != HEADER {
        return Ok(None);
    }
    while found.end < file_bytes {
        let mut bytes = [0; FRAME_HEADER + 1 + KEY_BYTES_MAX + 4];
        let there = (file_bytes - found.end).min(bytes.len() as u64) as usize;
        let bytes = &mut bytes[..there];
        file.read_exact_at(bytes, found.end)?;
        let frame = header_of(bytes).and_then(|(len, _)| {
            let key = key_of(bytes, bytes.get(FRAME_HEADER..)?)?;
            let whole = (FRAME_HEADER + len) as u64;
            let fits = found.end + whole <= file_bytes && key.len() + 5 <= len;
            fits.then_some((std::str::from_utf8(key).ok()?.to_owned(), whole))
        });
        let Some((key, len)) = frame else { return Ok(None) };
        found.frames.push((key, found.end, len as u32));
        found.end += len;
    }
    Ok(Some(found))
}

fn cut(path: &Path, len: u64) -> Result<(), StoreError> {
    let cut = || -> io::Result<()> {
        let file = std::fs::OpenOptions::new().write(true).open(path)?;
        file.set_len(len)?;
        file.sync_all()
    };
    cut().map_err(|e| disk::broken(path, &e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;

    fn options() -> SlabOptions {
        SlabOptions { file_bytes: 200, value_bytes_max: 100, disk: Arc::new(RealDisk) }
    }

    fn filled(dir: &Path) -> Vec<(String, Vec<u8>)> {
        let slab = Slab::open(dir, options()).expect("open").0;
        let values: Vec<(String, Vec<u8>)> =
            (0..12_u8).map(|i| (format!("key{i}"), vec![i; usize::from(i) * 5])).collect();
        for (key, value) in &values {
            slab.append([(key.as_str(), value.as_slice())]).expect("append");
        }
        values
    }

    #[test]
    fn values_come_back_after_reopening() {
        let dir = tempfile::tempdir().expect("dir");
        let values = filled(dir.path());
        let (slab, notes) = Slab::open(dir.path(), options()).expect("open");
        assert_eq!(notes, Vec::<String>::new());
        assert!(slab.files().expect("files").len() > 2, "it spans several files");
        for (key, value) in &values {
            assert_eq!(slab.get(key).expect("get").as_deref(), Some(value.as_slice()));
        }
        assert_eq!(slab.get("other").expect("get"), None);
    }

    #[test]
    fn equal_keys_are_stored_once_and_large_values_refused() {
        let dir = tempfile::tempdir().expect("dir");
        let slab = Slab::open(dir.path(), options()).expect("open").0;
        slab.append([("a", &b"1"[..]), ("a", b"1")]).expect("append");
        let before = slab.files().expect("files");
        slab.append([("a", &b"1"[..])]).expect("append");
        assert_eq!(slab.files().expect("files"), before);
        let refused = slab.append([("b", &[0; 101][..])]);
        assert!(matches!(refused, Err(StoreError::TooLarge { bytes: 101, limit: 100, .. })));
    }

    #[test]
    fn a_torn_end_is_cut_at_every_byte() {
        let dir = tempfile::tempdir().expect("dir");
        let slab = Slab::open(dir.path(), options()).expect("open").0;
        slab.append([("kept", &b"value"[..])]).expect("append");
        let path = path_of(dir.path(), 1);
        let kept = std::fs::read(&path).expect("read");
        slab.append([("torn", &b"another value"[..])]).expect("append");
        drop(slab);
        let whole = std::fs::read(&path).expect("read");
        for len in kept.len() + 1..whole.len() {
            std::fs::write(&path, &whole[..len]).expect("write");
            let (slab, notes) = Slab::open(dir.path(), options()).expect("open");
            assert_eq!(notes.len(), 1, "{len} bytes");
            assert_eq!(slab.get("kept").expect("get").as_deref(), Some(&b"value"[..]));
            assert_eq!(slab.get("torn").expect("get"), None);
            assert_eq!(std::fs::read(&path).expect("read"), kept);
        }
    }

    #[test]
    fn a_flipped_bit_costs_one_value_at_most_and_is_noticed() {
        let dir = tempfile::tempdir().expect("dir");
        let values = filled(dir.path());
        let (_, path) = disk::numbered(dir.path(), "slab").expect("list").remove(1);
        let whole = std::fs::read(&path).expect("read");
        for at in 0..whole.len() {
            let mut bad = whole.clone();
            bad[at] ^= 0x10;
            std::fs::write(&path, &bad).expect("write");
            let (slab, notes) = Slab::open(dir.path(), options()).expect("open");
            let lost = values
                .iter()
                .filter(|(key, value)| match slab.get(key) {
                    Ok(Some(found)) => {
                        assert_eq!(found, value.as_slice(), "byte {at}");
                        false
                    }
                    Ok(None) => {
                        assert!(!notes.is_empty(), "byte {at}: gone without a note");
                        true
                    }
                    Err(_) => true,
                })
                .count();
            assert!(lost <= 1, "byte {at}: {lost} lost");
        }
    }

    #[test]
    fn a_sweep_keeps_what_is_needed_or_was_just_used() {
        let dir = tempfile::tempdir().expect("dir");
        let values = filled(dir.path());
        let slab = Slab::open(dir.path(), options()).expect("open").0;
        let mark = slab.mark();
        slab.append([("key5", values[5].1.as_slice())]).expect("append");
        assert!(slab.sweep(mark, |key| key == "key1").expect("sweep") > 0);
        assert!(slab.contains("key1") && slab.contains("key5"));
        let reopened = Slab::open(dir.path(), options()).expect("open").0;
        let mut keys = (slab.keys(), reopened.keys());
        keys.0.sort();
        keys.1.sort();
        assert_eq!(keys.0, keys.1);
    }
}
