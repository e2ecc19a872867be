"""A page with a form, read as a browser reads it, and sent as a browser sends it."""

from html.parser import HTMLParser

from tests.clients import form, part, send


class Page(HTMLParser):
    """The form of ``response``: its inputs in the page's order, and its texts.

    ``tags`` are all tags with their attributes, ``links`` the texts of the links by
    their addresses, ``errors`` what stands in lists of errors, ``template`` the inputs
    in a <template>, which are not sent.
    """

    def __init__(self, response):
        super().__init__()
        self.response = response
        self.tags = []
        self.inputs = []
        self.template = []
        self.last = {}
        self.links = {}
        self.errors = []
        self.open = []
        self.text = ""
        self.html = response.content.decode()
        assert response.status_code == 200, self.html
        self.feed(self.html)
        self.close()

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append((tag, attrs))
        inert = any(tag == "template" for tag, _attrs in self.open)
        inputs = self.template if inert else self.inputs
        if tag in {"input", "textarea"}:
            self.last = {"type": tag} | attrs | {"value": attrs.get("value", "")}
            inputs.append(self.last)
        if tag not in {"input", "meta", "link", "br", "img"}:
            self.open.append((tag, attrs))

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if self.open and self.open[-1] == (tag, dict(attrs)):
            self.open.pop()

    def handle_endtag(self, tag):
        opened, _attrs = self.open.pop()
        assert opened == tag, f"<{opened}> is closed by </{tag}>"

    def handle_data(self, data):
        self.text += data
        within = [attrs.get("class") or "" for _tag, attrs in self.open]
        if data.strip() and {"errorlist", "invalid-feedback"} & {
            *" ".join(within).split()
        }:
            self.errors.append(data.strip())
        if self.open and self.open[-1][0] == "textarea":
            # A line feed straight after the tag is no part of the text.
            self.last["value"] = data.removeprefix("\r\n").removeprefix("\n")
        for opened, attributes in self.open:
            if opened == "a":
                self.links[attributes["href"]] = data

    def find(self, tag, **wanted):
        """Return the attributes of the only such tag."""
        (found,) = [
            attrs
            for name, attrs in self.tags
            if name == tag and wanted.items() <= attrs.items()
        ]
        return found

    def names(self, field="attachments"):
        """Return the names of the inputs of a field of attachments, in their order."""
        return [i["name"] for i in self.inputs if i.get("name", "").startswith(field)]

    def add_row(self, number):
        """Put the row of the <template> into the form, as a formset's script does."""
        number = str(number)
        for i in self.template:
            name = i["name"].replace("__prefix__", number)
            self.inputs.append(i | {"name": name})

    def value(self, name):
        """Return the value of the only input of that name."""
        (value,) = [i["value"] for i in self.inputs if i.get("name") == name]
        return value

    def body(self, fill=(), files=(), tick=()):
        """Return the body that a browser sends, as parts in the page's order.

        ``fill`` are values by names of inputs, ``files`` lists of pairs (name, content)
        by names of inputs, ``tick`` values of boxes.
        """
        fill, files = dict(fill), dict(files)
        known = {i.get("name") for i in self.inputs}
        assert known >= {*fill, *files}, known
        parts = []
        for i in self.inputs:
            name, kind = i.get("name"), i.get("type", "text")
            if name is None or kind == "submit" or "disabled" in i:
                continue
            if kind == "file":
                chosen = files.get(name) or [("", b"")]
                parts += [part(content, file, name) for file, content in chosen]
            elif kind != "checkbox" or i["value"] in tick or "checked" in i:
                value = fill.get(name, i["value"])
                parts.append(part(value.encode(), None, name))
        return parts

    def post(self, client, fill=(), files=(), tick=(), url=None, **extra):
        """Send the form; return the page that comes back."""
        url = url or self.response.request["PATH_INFO"]
        body = form(*self.body(fill, files, tick))
        response = send(client, body, url=url, **extra)
        return Page(client.get(response.url) if "Location" in response else response)
