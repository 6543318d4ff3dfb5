"""What all tests run with: quick starts, quick stores and passwords, and draws that do not differ."""
