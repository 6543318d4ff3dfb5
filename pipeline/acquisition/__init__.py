"""What is asked next: features of candidates are kept, a head is fitted to answers, and tasks get their priorities."""
