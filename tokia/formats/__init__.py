"""How the admin writes dates: short ones, in lists too. Django finds it by `FORMAT_MODULE_PATH`."""
