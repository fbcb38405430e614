"""What is written about a stay: the hotel, two days in its district, and what it costs."""

from __future__ import annotations

from flowdecode_graphs.atlas.prose import wording
from flowdecode_graphs.atlas.world import Hotel, Town

__all__ = ["cost_body", "day_body", "hotel_body", "room_body"]

_HOTEL = (
    "I choose the {hotel} in {district}, at {price} a night. The rooms are quiet, and all that follows is "
    "only a few steps away. Ask for the key at the desk and say that you come for the short walks.",
    "My choice is the {hotel}. It stands in {district} and costs {price} a night, and from its door you can "
    "walk everywhere on this plan. The owner keeps dry coats for guests who trust the sky too much.",
    "Stay at the {hotel} in {district}, where a night costs {price}. It is a good base for the two days, "
    "and nothing on this plan is far. The upper rooms have the better view, the lower ones the better beds.",
)

_DAYS = (
    (
        "Begin the day in {district} with the {sight}, where a ticket costs {ticket}. Take the whole "
        "morning for it, since there is more inside than the door promises. After a late lunch look into "
        "the small shops, and be back before dark for a warm supper. If it rains, ask the host for a game "
        "and stay by the fire instead, with the other guests.",
        "Leave your bags in your room and walk through {district} to the {sight}, where you pay {ticket}. "
        "Rest on a bench when you have seen it, write your postcards, and listen to the people who pass. "
        "The evening is free: some go dancing, some go to bed with a book, and both are right in their way.",
        "The first day belongs to the {sight} in {district}, and its ticket is {ticket}. There is no need "
        "to hurry: sit down where you like it, come back to what you like most, and end the day with a "
        "quiet dinner by the window. Tomorrow will be busier, so put your watch away and let the streets "
        "lead you where they want.",
    ),
    (
        "Sleep late, then go to the {sight} in {district} and pay {ticket} at the entrance. When you come "
        "out, follow the street to its end and turn around: that is the view on every postcard. Buy "
        "something sweet for the journey home, and one more for the person who has looked after your plants "
        "for so long.",
        "On the second day stay in {district} and visit the {sight} with a ticket of {ticket}. Ask for the "
        "guide with the grey beard, who tells a new story at each door. Keep an hour for a last walk before "
        "you pack, and ask in the kitchen for something to eat on the way, since the coach has no stops "
        "before noon.",
        "Have a slow breakfast, and then see the {sight}, which is also in {district} and costs {ticket}. "
        "Draw or photograph what you want to remember, thank the keeper, and spend the rest of the "
        "afternoon under the trees nearby. When the lights go on in the windows, it is time to fetch your "
        "bags and say goodbye.",
    ),
)


def hotel_body(town: Town, hotel: Hotel) -> str:
    """The choice."""
    return _HOTEL[wording(town.name)].format(hotel=hotel.name, district=hotel.district, price=hotel.price)


def day_body(town: Town, hotel: Hotel, day: int) -> str:
    """Day 0 or 1, with one of the sights in the hotel's district."""
    sight = hotel.sights[day]
    return _DAYS[day][wording(town.name)].format(
        district=hotel.district, sight=sight.name, ticket=sight.ticket
    )


def cost_body(hotel: Hotel, nights: int) -> str:
    """Room and tickets; what is added is listed first."""
    first, second = hotel.sights
    tickets, room = first.ticket + second.ticket, nights * hotel.price
    return (
        f"Tickets: {first.name} {first.ticket}, {second.name} {second.ticket}.\n"
        f"Tickets together: {first.ticket} + {second.ticket} = {tickets}.\n"
        f"{room_body(hotel, nights)}\n"
        f"In total: {room} + {tickets} = {room + tickets}."
    )


def room_body(hotel: Hotel, nights: int) -> str:
    """What the nights cost."""
    return f"Room for {nights} nights: {nights} x {hotel.price} = {nights * hotel.price}."
