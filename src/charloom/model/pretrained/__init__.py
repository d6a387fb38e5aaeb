"""The models that come with charloom."""
