"""SavedModels in the layout of TensorFlow Serving."""
