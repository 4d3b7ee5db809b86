//! Writing the folder of one split, row by row.

use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use crate::atomic_write::sync_folder;
use crate::damage::Damage;
use crate::durable::DurableFile;
use crate::error::{CacheError, IoContext};
use crate::index::{INDEX_COLUMNS, IndexEntry, SKIPPED_COLUMNS, SkippedPhoto};
use crate::manifest::{FEATURES, INDEX, LABELS, SKIPPED, SplitFiles, SplitManifest, VIEWS};
use crate::npy::NpyLayout;
use crate::table::TableFile;

/// The files of a split, to which rows are appended.
pub(crate) struct SplitWriter {
    folder: PathBuf,
    features: DurableFile,
    views: Option<DurableFile>,
    labels: DurableFile,
    index: TableFile<4>,
    /// Only if something was skipped.
    skipped: Option<TableFile<2>>,
    /// Rows appended so far.
    rows: usize,
}

impl SplitWriter {
    /// Creates the folder, for `rows` rows of `columns` values, each with `views` views.
    pub(crate) fn create(
        folder: &Path,
        rows: usize,
        columns: NonZeroUsize,
        views: Option<NonZeroUsize>,
    ) -> Result<Self, CacheError> {
        fs::create_dir(folder).context("create", folder)?;
        let columns = columns.get();
        let views = match views {
            Some(views) => {
                let path = folder.join(VIEWS);
                Some(create_array(&path, NpyLayout::<f32>::new(&[rows, views.get(), columns]))?)
            }
            None => None,
        };
        Ok(Self {
            features: create_array(&folder.join(FEATURES), NpyLayout::<f32>::new(&[rows, columns]))?,
            views,
            labels: create_array(&folder.join(LABELS), NpyLayout::<i64>::new(&[rows]))?,
            index: TableFile::create(&folder.join(INDEX), INDEX_COLUMNS)?,
            skipped: None,
            rows: 0,
            folder: folder.to_owned(),
        })
    }

    /// Appends a photo with its row, (columns,), and its views, (views * columns,).
    pub(crate) fn put(&mut self, photo: &IndexEntry, row: &[f32], views: &[f32]) -> Result<(), CacheError> {
        self.features.put(bytemuck::cast_slice(row))?;
        if let Some(file) = &mut self.views {
            file.put(bytemuck::cast_slice(views))?;
        }
        self.labels.put(&photo.label.to_le_bytes())?;
        self.index.put(photo.to_record(self.rows))?;
        self.rows += 1;
        Ok(())
    }

    /// Appends a photo that has no row.
    pub(crate) fn put_skipped(&mut self, photo: &SkippedPhoto) -> Result<(), CacheError> {
        if self.skipped.is_none() {
            self.skipped = Some(TableFile::create(&self.folder.join(SKIPPED), SKIPPED_COLUMNS)?);
        }
        self.skipped.as_mut().expect("created above").put(photo.to_record())
    }

    /// Syncs the files to the disk. Returns the split's entry in the manifest.
    pub(crate) fn finish(self) -> Result<SplitManifest, CacheError> {
        let files = SplitFiles {
            features: self.features.finish()?,
            views: self.views.map(DurableFile::finish).transpose()?,
            labels: self.labels.finish()?,
            index: self.index.into_file()?.finish()?,
            skipped: self.skipped.map(|table| table.into_file()?.finish()).transpose()?,
        };
        sync_folder(&self.folder).context("write", &self.folder)?;
        Ok(SplitManifest { rows: self.rows, files })
    }
}

/// Creates an .npy file with its header.
fn create_array<T>(path: &Path, layout: Result<NpyLayout<T>, Damage>) -> Result<DurableFile, CacheError>
where
    T: ndarray_npy::WritableElement + ndarray_npy::ViewElement,
{
    let layout = layout.map_err(|damage| CacheError::Damaged { path: path.to_owned(), damage })?;
    let mut file = DurableFile::create(path)?;
    file.put(&layout.header_bytes())?;
    Ok(file)
}
