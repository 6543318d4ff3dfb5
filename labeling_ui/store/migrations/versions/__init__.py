"""The migrations themselves, numbered. What has been released is never edited: stores made with it must still open."""
