"""The models that ship with charloom."""
