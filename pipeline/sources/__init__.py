"""Which files a dataset is made of: manifests, and what they find below a root folder."""
