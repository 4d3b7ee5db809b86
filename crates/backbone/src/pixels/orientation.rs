//! Which way up photos are taken.

/// Which way up photos are taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Orientation {
    /// As their pixels are stored, which is what Keras does.
    #[default]
    Stored,
    /// Upright, by the EXIF orientation that phones write instead of turning the pixels: what Pillow's
    /// `ImageOps.exif_transpose` makes of them.
    Exif,
}

impl Orientation {
    /// Both choices.
    pub const ALL: [Self; 2] = [Self::Stored, Self::Exif];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Exif => "exif",
        }
    }
}
