from django.contrib.contenttypes.models import ContentType
from django.db import models
from django.db.models.functions import Lower


class Author(models.Model):
    name = models.CharField(max_length=80)
    email = models.EmailField(unique=True)

    class Meta:
        constraints = [models.UniqueConstraint(Lower("name"), name="author_name_once")]

    def __str__(self):
        return self.name


class Book(models.Model):
    author = models.ForeignKey(Author, on_delete=models.CASCADE, related_name="books")
    kind = models.ForeignKey(ContentType, null=True, on_delete=models.SET_NULL)
    title = models.CharField(max_length=200)
    price = models.DecimalField(max_digits=8, decimal_places=2)
    tags = models.ManyToManyField("Tag", blank=True)
    attributes = models.JSONField(default=dict)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=models.Q(price__gte=0), name="book_price_positive"),
            models.UniqueConstraint(fields=["author", "title"], name="book_once"),
        ]
        indexes = [models.Index(fields=["-price"], name="book_by_price", condition=models.Q(price__gt=100))]

    def __str__(self):
        return self.title


class Tag(models.Model):
    name = models.SlugField(unique=True)

    class Meta:
        db_table = "Schlag Wörter"

    def __str__(self):
        return self.name
