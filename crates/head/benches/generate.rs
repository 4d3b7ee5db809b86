//! A cache of generated rows, of any size: `cargo bench --package head --bench generate -- CACHE ROWS [CLASSES]`.
//!
//! Ten classes, or CLASSES, distinguished by one or two of the 2048 columns; a tenth of the rows are validation rows.

use std::error::Error;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use end_to_end::sample_fingerprint;
use feature_cache::{CacheContents, CacheWriter, ClassNames, IndexEntry, RowSource, Split, SplitContents, WhenLocked};

const COLUMNS: NonZeroUsize = NonZeroUsize::new(2048).unwrap();
/// The default number of classes.
const CLASSES: usize = 10;
/// Rows that are generated and written at a time: 8 MB.
const BLOCK: usize = 1024;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let usage = "expected CACHE ROWS [CLASSES]";
    let (path, rows) = (PathBuf::from(arguments.next().ok_or(usage)?), arguments.next().ok_or(usage)?.parse()?);
    // Cargo adds a flag of its own.
    let classes = arguments.find(|argument| !argument.starts_with("--"));
    let classes = classes.map_or(Ok(CLASSES), |given| given.parse())?;
    let split = |k: usize| if k % 10 == 9 { Split::Validation } else { Split::Train };
    let photo_hash = |k: usize| blake3::hash(&k.to_le_bytes());
    let mut contents = CacheContents {
        fingerprint: sample_fingerprint(),
        views: None,
        classes: ClassNames::new((0..classes).map(|k| format!("class {k}")).collect())?,
        splits: [Split::Train, Split::Validation].map(|split| (split, SplitContents::default())).into(),
    };
    for k in 0..rows {
        let path = format!("{}/{k}.jpg", split(k)).into();
        let entry = IndexEntry { path, label: (k / 10 % classes) as i64, blake3: photo_hash(k) };
        contents.splits.entry(split(k)).or_default().photos.push(entry);
    }

    let writer = CacheWriter::open(&path, WhenLocked::Fail)?;
    let mut journal = writer.journal(&contents.fingerprint, COLUMNS)?;
    let mut values = vec![0.0; BLOCK * COLUMNS.get()];
    let mut noise = Noise(1);
    for start in (0..rows).step_by(BLOCK) {
        let block = start..rows.min(start + BLOCK);
        for (k, row) in block.clone().zip(values.chunks_exact_mut(COLUMNS.get())) {
            row.fill_with(|| noise.next());
            // The label's digits in base 2048, a column for each.
            let label = k / 10 % classes;
            row[label % COLUMNS] += 0.5;
            if label >= COLUMNS.get() {
                row[label / COLUMNS] += 0.5;
            }
        }
        journal.append(block.map(photo_hash).zip(values.chunks_exact(COLUMNS.get())))?;
    }
    let source = RowSource::new(None, &journal)?;
    writer.publish(&contents, COLUMNS, &Default::default(), &source)?;
    Ok(())
}

/// Uniform random numbers in [0, 1) (Marsaglia 2003, xorshift).
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 40) as f32 / (1u32 << 24) as f32
    }
}
