"""Compressed streams: the file objects, the codecs and the table of both."""
