-- With its bundle a release can be named in full again, which is what going back to it takes.
ALTER TABLE trains ADD COLUMN bundle text;
