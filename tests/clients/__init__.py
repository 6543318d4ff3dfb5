"""Other programs with what leaves the project; they need packages that `make clients` installs."""
