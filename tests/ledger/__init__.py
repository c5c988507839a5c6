"""The record, its moves, and the contract that every store keeps."""
