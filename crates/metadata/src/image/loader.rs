use super::{MetadataDelta, MetadataImage};
use crate::Error;
use crate::record::MetadataRecord;

/// Follows the metadata log: folds records into an image, and keeps what changed since the
/// image was last published.
///
/// A metadata transaction (KIP-868) may end in an abort, which takes its records back. While one
/// is open there is nothing new to publish: [`ImageLoader::publish`] gives `None`.
#[derive(Clone, Debug, Default)]
pub struct ImageLoader {
    image: MetadataImage,
    delta: MetadataDelta,
    /// The state in which the open transaction began.
    before_transaction: Option<(MetadataImage, MetadataDelta)>,
}

impl ImageLoader {
    /// Starts at this image, of which nothing is left to publish.
    #[must_use]
    pub fn new(image: MetadataImage) -> Self {
        Self {
            image,
            ..Self::default()
        }
    }

    /// The image after every record so far, those of an open transaction included.
    #[must_use]
    pub fn image(&self) -> &MetadataImage {
        &self.image
    }

    /// Whether a metadata transaction is open.
    #[must_use]
    pub fn in_transaction(&self) -> bool {
        self.before_transaction.is_some()
    }

    /// The image before the open metadata transaction, if one is open.
    #[must_use]
    pub fn before_transaction(&self) -> Option<&MetadataImage> {
        self.before_transaction.as_ref().map(|(image, _)| image)
    }

    /// Applies the next record.
    ///
    /// # Errors
    /// When the record doesn't fit; the loader is then no longer of use.
    pub fn replay(&mut self, record: &MetadataRecord) -> Result<(), Error> {
        match record {
            MetadataRecord::BeginTransaction(_) => {
                if self.in_transaction() {
                    let reason = "a metadata transaction is open";
                    return Err(Error::replay("BeginTransactionRecord", reason));
                }
                self.before_transaction = Some((self.image.clone(), self.delta.clone()));
            }
            MetadataRecord::EndTransaction(_) => {
                self.before_transaction
                    .take()
                    .ok_or_else(|| no_transaction("EndTransactionRecord"))?;
            }
            MetadataRecord::AbortTransaction(_) => {
                let (image, delta) = self
                    .before_transaction
                    .take()
                    .ok_or_else(|| no_transaction("AbortTransactionRecord"))?;
                self.image = image;
                self.delta = delta;
            }
            _ => {
                self.delta.note(&self.image, record);
                self.image.replay(record)?;
            }
        }
        Ok(())
    }

    /// Puts the records of a snapshot in the place of everything so far.
    ///
    /// # Errors
    /// When a record doesn't fit; the loader is then as it was.
    pub fn load_snapshot<'a>(
        &mut self,
        published: &MetadataImage,
        records: impl IntoIterator<Item = &'a MetadataRecord>,
    ) -> Result<(), Error> {
        let mut image = MetadataImage::default();
        for record in records {
            image.replay(record)?;
        }
        self.delta = MetadataDelta::between(published, &image);
        self.image = image;
        self.before_transaction = None;
        Ok(())
    }

    /// The image to publish, and what changed since the last one; `None` while a metadata
    /// transaction is open.
    pub fn publish(&mut self) -> Option<(MetadataImage, MetadataDelta)> {
        if self.in_transaction() {
            return None;
        }
        Some((self.image.clone(), std::mem::take(&mut self.delta)))
    }
}

fn no_transaction(record: &'static str) -> Error {
    Error::replay(record, "no metadata transaction is open")
}
