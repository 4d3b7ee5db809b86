//! Whether photos are turned upright by their EXIF orientation.

/// Whether photos are turned upright by their EXIF orientation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Orientation {
    /// They are not: pixels stay as they are stored, as in Keras, except for TIFFs, which Pillow turns upright.
    #[default]
    Stored,
    /// They are, as by Pillow's `ImageOps.exif_transpose`. Phones write the orientation instead of turning the pixels.
    Exif,
}

impl Orientation {
    /// Both values.
    pub const ALL: [Self; 2] = [Self::Stored, Self::Exif];

    /// The value's name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Exif => "exif",
        }
    }
}
