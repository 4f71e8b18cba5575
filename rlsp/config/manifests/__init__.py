"""Tables: SHA-256 of the files to download, by repository and commit; photographs of scikit-image."""
