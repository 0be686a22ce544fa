"""The page in the browser: what it may ask, who may open it, and what a person does on it."""
