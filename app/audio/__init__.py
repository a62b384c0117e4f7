"""Audio in and out: decoding of hostile files, encoding as a stream, splitting on silence."""
