//! ISO 8583 messages as data: dialect tables, borrowed parse, build into a buffer, TLV, framing, masking
