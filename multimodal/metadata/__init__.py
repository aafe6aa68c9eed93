"""What is known of everything that is kept: a database, SQLite or PostgreSQL.

`tables` says what it looks like now, `migrations` how it became so. A new table is a class in `tables` and a
revision in `migrations/versions` that names the one before it; a test tells whether the two agree.
"""
