"""From files to a manifest, to folds, to features, to `tf.data` batches."""
